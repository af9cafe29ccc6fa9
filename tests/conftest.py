"""How tests use the project: through its scripts, with a store of their own."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import tunebook  # noqa: F401  (mends the import of torchvision, for whatever imports it first)

if TYPE_CHECKING:
    from tests.runs import Outcome

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "data=digits",
    "debug=quick",
    "trainer=cpu",
)  # the real config, shrunk: no network, about a second of training


@dataclass(frozen=True)
class Result:
    """What a script did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What one test process has to do alone begins first, so that the other does not wait for it in the end."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a script of src/ in this process (importing torch anew for each call would take most of the time)."""

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
    out, err = capfd.readouterr() if capfd else ("", "")
    return Result(code, out, err)


def run_process(script: str, *arguments: str, **environment: str) -> Result:
    """Runs a script of src/ in a process of its own."""
    command = [sys.executable, str(ROOT / "src" / script), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, env={**os.environ, **environment}
    )
    return Result(done.returncode, done.stdout, done.stderr)


def in_folder(folder: Path) -> tuple[str, ...]:
    """Settings that keep everything a run makes in `folder`."""
    return (f"tracking.uri=sqlite:///{folder}/mlflow.db", f"outputs={folder}/out")


def runs_in(folder: Path) -> list[Run]:
    """Every run of the store in `folder`, oldest first."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return client.search_runs(
        [e.experiment_id for e in client.search_experiments()],
        order_by=["attributes.start_time ASC"],
    )


def artifacts_of(folder: Path, run: Run, path: str = "") -> set[str]:
    """Every artifact of a run, as paths."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found: set[str] = set()
    for item in client.list_artifacts(run.info.run_id, path):
        found |= artifacts_of(folder, run, item.path) if item.is_dir else {item.path}
    return found


@dataclass(frozen=True)
class Finished:
    """A run that went well."""

    folder: Path
    run: Run
    result: Result


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One small run through train.py, with a secret in the environment."""
    folder = tmp_path_factory.mktemp("finished")
    settings = (
        "model.filters=16",
        "seed=3",
        "trainer.max_epochs=2",
        "scheduler=cosine",
        "augmentation=affine",
    )
    result = run_process(
        "train.py", *SMALL, *settings, *in_folder(folder), MY_API_TOKEN="hunter2-hunter2"
    )
    assert result.code == 0, result.err
    (run,) = runs_in(folder)
    return Finished(folder, run, result)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., Outcome]":
    """The outcome of the run in tests/runs.py with these settings, trained once."""
    from tests import faults
    from tests.runs import RUN, Outcome, outcome, with_store

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
