"""A run that is killed at any moment and resumed ends like one that was never killed.

The kills come from the start of the run to its end, on a busy machine. They would delay other
tests: `make test-all` runs them last.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import Cli, artifacts_of, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, Outcome, outcome, with_store
from tunebook.run_folder import PENDING

# Processes that keep the machine busy: eight over all workers of the tests.
BUSY = 8 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
TRIES = 20  # attempts to hit a process before it ends
# The artifacts that are the same to the byte in every run of these settings. The others contain
# times, paths, ids or the overrides of the command.
SAME = ("config/requirements.txt", "pictures/confusion_matrix.png", "pictures/worst_images.png")
SETTINGS = (*RUN, "tracking.save_pictures=true")


@dataclass(frozen=True)
class Whole:
    """Hold the result of a run that was never killed, and how long it took."""

    seconds: float
    outcome: Outcome
    artifacts: dict[str, bytes]
    models: int


def artifacts(folder: Path) -> dict[str, bytes]:
    """Return the artifacts of the only run, with the content of those that never vary.

    The others have an empty content.
    """
    (run,) = runs_in(folder)
    client, found = MlflowClient(f"sqlite:///{folder}/mlflow.db"), dict[str, bytes]()
    for name in artifacts_of(folder, run):
        file = (
            Path(client.download_artifacts(run.info.run_id, name, str(folder)))
            if name in SAME
            else None
        )
        found[name] = file.read_bytes().replace(str(folder).encode(), b"") if file else b""
    return found


def models(folder: Path) -> int:
    (run,) = runs_in(folder)
    return len(run.outputs.model_outputs) if run.outputs else 0


@pytest.fixture(scope="module")
def busy() -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    yield
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def wholes(busy: None, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Whole]:
    """Train the undisturbed runs, with a saved model (True) and without one (False)."""
    found = {}
    for with_model in (False, False, True):  # the first one waits for the imports of all
        folder = tmp_path_factory.mktemp("whole")
        log, start = folder / "log.txt", time.monotonic()
        assert faults.run_train(words_of(folder, with_model), log) == 0, log.read_text()
        seconds = time.monotonic() - start
        found[with_model] = Whole(seconds, outcome(folder), artifacts(folder), models(folder))
    return found


def words_of(folder: Path, with_model: bool) -> tuple[str, ...]:
    return (*SETTINGS, f"tracking.save_model={str(with_model).lower()}", *with_store(folder))


def killed(folder: Path, with_model: bool, after_s: float) -> bool:
    """Start a run, kill it after a while, and return whether it was still running."""
    process = faults.start_train(words_of(folder, with_model), folder / "log.txt")
    time.sleep(after_s)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def gone_on_with(folder: Path, with_model: bool) -> None:
    """Continue as a user would after a crash.

    Resume the last run, or start it again where there is none yet.
    """
    log = folder / "resumed.txt"
    code = faults.run_train(("resume=last", *with_store(folder)), log)
    said = log.read_text()
    if code == 2 and "there is no run in" in said:
        code = faults.run_train(words_of(folder, with_model), log)
    assert code == 0 or (code == 2 and "the run is finished" in said), said


def survives(folder: Path, draw: random.Random, with_model: bool, whole: Whole, cli: Cli) -> None:
    for number in range(TRIES):
        here = folder / str(number)
        here.mkdir()
        if killed(here, with_model, draw.random() * whole.seconds):
            break
    else:
        raise AssertionError("no process was there to be killed")
    gone_on_with(here, with_model)
    synced = cli("sync.py", *with_store(here))
    assert (synced.code, synced.out.splitlines()[-1].endswith(" delivered, 0 not delivered")) == (
        0,
        True,
    ), synced.out
    assert [path.name for path in (here / "out" / PENDING).iterdir()] == []
    assert outcome(here).differences(whole.outcome) == []
    assert artifacts(here) == whole.artifacts
    assert models(here) == whole.models


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("trial", range(50))
def test_killed_at_any_moment(
    cli: Cli, wholes: dict[bool, Whole], tmp_path: Path, trial: int
) -> None:
    with_model = trial % 5 == 0  # saving a model takes seconds
    survives(tmp_path, random.Random(trial), with_model, wholes[with_model], cli)
