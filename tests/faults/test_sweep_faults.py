"""No trial is lost or fails where a sweep's study, disk or fork server fails."""

import contextlib
import random
import re
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from tests.conftest import runs_in
from tests.helpers import faults
from tests.helpers.runs import with_store
from tests.integration.test_sweep import SHORT, children, figures

SEEDS = ("-m", *SHORT, "trainer.max_epochs=4", "seed=1,2,3,4", "sweep.name=s", "sweep.workers=2",
         "sweep.threads=1")  # fmt: skip
NO_TRACEBACK = "Traceback"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the sweep without faults."""
    folder = tmp_path_factory.mktemp("quiet")
    assert faults.run_train((*SEEDS, *with_store(folder)), folder / "log.txt") == 0
    return folder


def study_of(folder: Path) -> Path:
    return folder / "out" / "sweeps" / "s" / "study.db"


def begun(folder: Path, *words: str) -> BaseProcess:
    """Start the sweep, and return its process when the first trials train."""
    process = faults.start_train((*SEEDS, *words, *with_store(folder)), folder / "log.txt")
    in_training = "out/sweeps/s/000*/checkpoints/last.ckpt"
    faults.wait_for(lambda: len(list(folder.glob(in_training))) >= 2, 120)
    return process


def assert_as_undisturbed(folder: Path, quiet: Path) -> None:
    """Assert that each trial is complete once, with the metrics of the sweep without faults."""
    found, expected = children(folder), children(quiet)
    assert {name: figures(run) for name, run in found.items()} == {
        name: figures(run) for name, run in expected.items()
    }
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


def lock(file: Path) -> Callable[[], None]:
    connection = sqlite3.connect(file, timeout=60, check_same_thread=False, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection.close


@pytest.mark.slow
@pytest.mark.parametrize("fault", [take_away, damage, empty, lock])
def test_a_study_that_comes_back_is_waited_for(
    quiet: Path, tmp_path: Path, fault: Callable
) -> None:
    process = begun(tmp_path)
    mend = fault(study_of(tmp_path))
    log = tmp_path / "log.txt"
    faults.wait_for(lambda: "the study's database can't be used" in log.read_text(), 60)
    time.sleep(2)
    mend()
    process.join(120)
    assert process.exitcode == 0, log.read_text()
    assert log.read_text().count("waiting for at most 60 s") == 1
    if fault in (take_away, lock):
        assert_as_undisturbed(tmp_path, quiet)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [take_away, damage, empty])
def test_a_study_that_stays_away_ends_the_sweep_and_the_same_command_goes_on(
    quiet: Path, tmp_path: Path, fault: Callable
) -> None:
    process = begun(tmp_path, "sweep.patience_s=1")
    fault(study_of(tmp_path))
    process.join(120)
    log = tmp_path / "log.txt"
    assert process.exitcode == 1, log.read_text()
    end = (
        r"^error: the study's database can't be used \(.*\); no trial is lost: "
        r"the same command resumes the sweep$"
    )
    assert re.search(end, log.read_text(), re.M)
    assert "FAILED" not in {
        run.info.status for run in runs_in(tmp_path) if "sweep.trial" in run.data.tags
    }
    assert faults.run_train((*SEEDS, *with_store(tmp_path)), log) == 0, log.read_text()
    assert_as_undisturbed(tmp_path, quiet)


def fork_server_of(process: BaseProcess) -> psutil.Process:
    """Return the process that forks the workers of a sweep."""
    children = psutil.Process(process.pid).children()
    (found,) = [
        child for child in children if "multiprocessing.forkserver" in " ".join(child.cmdline())
    ]
    return found


@pytest.mark.slow
def test_the_end_of_the_fork_server_costs_no_trial(quiet: Path, tmp_path: Path) -> None:
    process = begun(tmp_path)
    fork_server_of(process).kill()
    process.join(120)
    assert process.exitcode == 0, (tmp_path / "log.txt").read_text()
    assert_as_undisturbed(tmp_path, quiet)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 8 MB and yield its path."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Keep a disk full inside the block, even where space is freed there."""
    file, is_over = disk / "everything else", threading.Event()

    def fill() -> None:
        with file.open("ab", buffering=0) as full:
            while not is_over.wait(0.002):
                with contextlib.suppress(OSError):
                    while full.write(b"x" * 4096):
                        pass

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        file.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("patience_s", [60, 1])
def test_a_disk_that_is_full(
    quiet: Path, tmp_path: Path, small_disk: Path, patience_s: int
) -> None:
    """Trials wait for free space on a full disk.

    Where there is none for too long, the sweep ends, and the same command resumes it.
    """
    log = tmp_path / "log.txt"
    command = (
        *SEEDS,
        *with_store(tmp_path),
        f"outputs={small_disk}/out",
        f"sweep.patience_s={patience_s}",
    )
    process = faults.start_train(command, log)
    in_training = "out/sweeps/s/000*/checkpoints/last.ckpt"
    faults.wait_for(lambda: len(list(small_disk.glob(in_training))) >= 2, 120)
    with filled(small_disk):
        if patience_s == 60:
            faults.wait_for(
                lambda: (
                    "waits for at most" in log.read_text()
                    or "waiting for at most" in log.read_text()
                ),
                90,
            )
        else:
            process.join(150)
            assert process.exitcode == 1, log.read_text()
            assert re.search(
                r"^error: .*; no trial is lost: the same command resumes the sweep$",
                log.read_text(),
                re.M,
            )
    if patience_s == 60:
        process.join(150)
        assert process.exitcode == 0, log.read_text()
    else:
        assert faults.run_train(command, log) == 0, log.read_text()
    assert_as_undisturbed(tmp_path, quiet)


KILLS = 5  # for each of four sweeps
VICTIMS = ("driver", "driver and a worker", "all", "a worker")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_any_moment(quiet: Path, tmp_path: Path, seed: int) -> None:
    """A sweep that is killed at any moment completes each trial once, equal to the bit.

    The same command resumes it each time.
    """
    chance, log, kills = random.Random(seed), tmp_path / "log.txt", 0
    command = (*SEEDS, "sweep.retry_failed=true", *with_store(tmp_path))
    while kills < KILLS:
        process = faults.start_train(command, log)
        time.sleep(chance.uniform(0, 15))
        victim = chance.choice(VICTIMS)
        with contextlib.suppress(psutil.NoSuchProcess):
            driver = psutil.Process(process.pid)
            below = driver.children(recursive=True)
            workers = [child for child in below if child.ppid() != driver.pid]
            chosen = {
                "driver": [driver],
                "driver and a worker": [driver, *workers[:1]],
                "all": [driver, *below],
                "a worker": workers[:1],
            }
            for one in chosen[victim]:
                one.kill()
            kills += bool(chosen[victim])
        if victim != "a worker":
            process.join(60)
        else:
            process.join(120)
        assert process.exitcode is not None
    code = faults.run_train(command, log)
    assert code == 0, log.read_text()
    found = [run for run in runs_in(tmp_path) if "sweep.trial" in run.data.tags]
    complete = {
        run.data.params["seed"]: figures(run)
        for run in found
        if run.data.tags["sweep.state"] == "complete"
    }
    assert complete == {run.data.params["seed"]: figures(run) for run in children(quiet).values()}
    states = sorted(run.data.tags["sweep.state"] for run in found)
    assert states.count("complete") == 4
    assert set(states) <= {"complete", "killed"}
    assert "RUNNING" not in {run.info.status for run in runs_in(tmp_path)}
    assert NO_TRACEBACK not in log.read_text()
