"""Sweeps whose study, disk or fork server fails while they work: no trial is lost, and none fails."""

import re
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from tests import faults
from tests.conftest import runs_in
from tests.runs import with_store
from tests.test_sweep import SHORT, children, figures

SEEDS = ("-m", *SHORT, "trainer.max_epochs=4", "seed=1,2,3,4", "sweep.name=s", "sweep.workers=2", "sweep.threads=1")  # fmt: skip
NO_TRACEBACK = "Traceback"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("quiet")
    assert faults.run_train((*SEEDS, *with_store(folder)), folder / "log.txt") == 0
    return folder


def study_of(folder: Path) -> Path:
    return folder / "out" / "sweeps" / "s" / "study.db"


def begun(folder: Path, *words: str) -> BaseProcess:
    """Start the sweep, and return when its first trials train."""
    process = faults.start_train((*SEEDS, *words, *with_store(folder)), folder / "log.txt")
    in_training = "out/sweeps/s/000*/checkpoints/last.ckpt"
    faults.wait_for(lambda: len(list(folder.glob(in_training))) >= 2, 120)
    return process


def assert_as_undisturbed(folder: Path, quiet: Path) -> None:
    """Each trial is there once, complete, with the figures that it has where nothing happens."""
    found, expected = children(folder), children(quiet)
    assert {name: figures(run) for name, run in found.items()} == {name: figures(run) for name, run in expected.items()}
    assert {run.data.tags["sweep.state"] for run in found.values()} == {"complete"}
    assert {run.info.status for run in runs_in(folder)} == {"FINISHED"}
    assert NO_TRACEBACK not in (folder / "log.txt").read_text()


def take_away(file: Path) -> Callable[[], None]:
    aside = file.with_name("aside")
    file.rename(aside)
    return lambda: aside.replace(file) and None


def damage(file: Path) -> Callable[[], None]:
    copy = file.read_bytes()
    file.rename(file.with_name("aside"))
    file.write_bytes(b"no database" * 999)
    return lambda: file.write_bytes(copy) and None


def empty(file: Path) -> Callable[[], None]:
    file.rename(file.with_name("aside"))
    file.touch()
    return lambda: file.with_name("aside").replace(file) and None


FAULTS = [take_away, pytest.param(damage, marks=pytest.mark.slow), pytest.param(empty, marks=pytest.mark.slow)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_study_that_comes_back_is_waited_for(quiet: Path, tmp_path: Path, fault: Callable) -> None:
    process = begun(tmp_path)
    mend = fault(study_of(tmp_path))
    log = tmp_path / "log.txt"
    faults.wait_for(lambda: "the study's database can't be used" in log.read_text(), 60)
    time.sleep(2)
    mend()
    process.join(120)
    assert process.exitcode == 0, log.read_text()
    assert log.read_text().count("waiting, for at most 60 s") == 1
    if fault is take_away:
        assert_as_undisturbed(tmp_path, quiet)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_study_that_stays_away_ends_the_sweep_and_the_same_command_goes_on(quiet: Path, tmp_path: Path, fault: Callable) -> None:
    process = begun(tmp_path, "sweep.patience_s=1")
    fault(study_of(tmp_path))
    process.join(120)
    log = tmp_path / "log.txt"
    assert process.exitcode == 1, log.read_text()
    end = r"^error: the study's database can't be used \(.*\); no trial is lost: the same command goes on$"
    assert re.search(end, log.read_text(), re.M)
    assert "FAILED" not in {run.info.status for run in runs_in(tmp_path) if "sweep.trial" in run.data.tags}
    assert faults.run_train((*SEEDS, *with_store(tmp_path)), log) == 0, log.read_text()
    assert_as_undisturbed(tmp_path, quiet)


def fork_server_of(process: BaseProcess) -> psutil.Process:
    """Return the process that forks the workers of a sweep."""
    children = psutil.Process(process.pid).children()
    (found,) = [child for child in children if "multiprocessing.forkserver" in " ".join(child.cmdline())]
    return found


def test_the_end_of_the_fork_server_costs_no_trial(quiet: Path, tmp_path: Path) -> None:
    process = begun(tmp_path)
    fork_server_of(process).kill()
    process.join(120)
    assert process.exitcode == 0, (tmp_path / "log.txt").read_text()
    assert_as_undisturbed(tmp_path, quiet)
