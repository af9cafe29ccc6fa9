# make help lists the targets.
.DEFAULT_GOAL := help
.PHONY: help install train ui sync check test test-unit test-all bench profile clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PORT ?= 5000
# Two test processes with a thread each: more threads than cores make every step many times slower.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 MPLBACKEND=agg

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## .venv with the pinned versions

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: install ## the notebook's network on MNIST, 12 epochs
	$(BIN)/python src/train.py

ui: install ## MLflow's pages on http://127.0.0.1:5000 (PORT=5001 for another port), for this machine alone
	@$(BIN)/python src/ui.py port=$(PORT)

sync: install ## sends MLflow what it has not received of earlier runs
	$(BIN)/python src/sync.py

check: install ## style, types, and the shape of the code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_architecture.py

test: install ## the fast tests, without network
	$(TEST_ENVIRONMENT) $(BIN)/pytest -q -n 2 --dist loadgroup -m 'not slow'

test-unit: install ## the fast tests that need no process of their own
	$(TEST_ENVIRONMENT) $(BIN)/pytest -q -n 2 --dist loadgroup -m 'not slow' tests/unit

test-all: install ## every test; needs the network once, for MNIST
	$(TEST_ENVIRONMENT) $(BIN)/pytest -q -n 2 --dist loadgroup -m 'not alone' --hypothesis-profile=searching
	$(TEST_ENVIRONMENT) $(BIN)/pytest -q -n 2 -m alone

bench: install ## speed beside a plain loop, Keras, Ray Tune and others, and memory; let nothing else run meanwhile
	$(BIN)/python src/bench.py

profile: install ## where the time of a training step and of the imports goes
	$(BIN)/python src/bench.py --profile

clean: ## removes .venv and caches; data/, outputs/, mlruns/ and mlflow.db stay
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
