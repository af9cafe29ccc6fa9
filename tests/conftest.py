"""Run the project's scripts from tests, each with a tracking store of its own."""

import gc
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from mlflow import MlflowClient
from mlflow.entities import Run

import tunebook  # noqa: F401  (mends the import of torchvision, for whatever imports it first)

if TYPE_CHECKING:
    from tests.helpers.runs import Outcome

ROOT = Path(__file__).resolve().parents[1]
# The real config, shrunk: it needs no network and trains for about a second.
SMALL = ("data=digits", "debug=quick", "trainer=cpu")


@dataclass(frozen=True)
class Result:
    """Hold the exit status and the output of a script."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]

# Property tests try the same examples every time, so that an unchanged tree cannot begin to fail.
# `make test-all` asks for the other profile, which looks for new ones. There is no deadline, since
# the first example may import a library.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", derandomize=False, deadline=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests that must share one worker to the front.

    Otherwise the other workers would wait for them at the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs a script of src/ in this process.

    In a new process, importing torch would take most of the time.
    """

    def call(script: str, *arguments: str) -> Result:
        return run_in_process(script, arguments, monkeypatch, capfd)

    return call


def run_in_process(
    script: str,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str] | None,
) -> Result:
    path = ROOT / "src" / script
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code = 0
    try:
        module.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        gc.unfreeze()  # a command is the last of its process, and lets no more garbage be collected
        gc.enable()
    out, err = capfd.readouterr() if capfd else ("", "")
    return Result(code, out, err)


def run_process(script: str, *arguments: str, **environment: str) -> Result:
    """Run a script of src/ in a process of its own."""
    command = [sys.executable, str(ROOT / "src" / script), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, env={**os.environ, **environment}
    )
    return Result(done.returncode, done.stdout, done.stderr)


def in_folder(folder: Path) -> tuple[str, ...]:
    """Return the overrides that keep everything that a run writes in `folder`."""
    return (f"tracking.uri=sqlite:///{folder}/mlflow.db", f"outputs={folder}/out")


def runs_in(folder: Path) -> list[Run]:
    """Return every run of the store in `folder`, oldest first."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return client.search_runs(
        [e.experiment_id for e in client.search_experiments()],
        order_by=["attributes.start_time ASC"],
    )


def artifacts_of(folder: Path, run: Run, path: str = "") -> set[str]:
    """Return the paths of all artifacts of a run."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found: set[str] = set()
    for item in client.list_artifacts(run.info.run_id, path):
        found |= artifacts_of(folder, run, item.path) if item.is_dir else {item.path}
    return found


@dataclass(frozen=True)
class Finished:
    """Hold a run that finished, with its folder and what train.py printed."""

    folder: Path
    run: Run
    result: Result


# Overrides of the run that `finished` trains.
FINISHED_SETTINGS = (
    "model.filters=16",
    "seed=3",
    "trainer.max_epochs=2",
    "scheduler=cosine",
    "augmentation=affine",
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Train one small run through train.py, with a secret in the environment."""
    folder = tmp_path_factory.mktemp("finished")
    result = run_process(
        "train.py", *SMALL, *FINISHED_SETTINGS, *in_folder(folder), MY_API_TOKEN="hunter2-hunter2"
    )
    assert result.code == 0, result.err
    (run,) = runs_in(folder)
    return Finished(folder, run, result)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., Outcome]":
    """Return a function that trains the run of tests/helpers/runs.py without faults.

    It takes further overrides and trains each set of them only once.
    """
    from tests.helpers import faults
    from tests.helpers.runs import RUN, Outcome, outcome, with_store

    found: dict[tuple[str, ...], Outcome] = {}

    def train(*settings: str) -> Outcome:
        if settings not in found:
            folder = tmp_path_factory.mktemp("undisturbed")
            assert (
                faults.run_train((*RUN, *settings, *with_store(folder)), folder / "log.txt") == 0
            ), (folder / "log.txt").read_text()
            found[settings] = outcome(folder)
        return found[settings]

    return train
