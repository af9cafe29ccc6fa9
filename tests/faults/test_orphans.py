"""The processes that a run starts end with it, however it ends."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.helpers import faults
from tests.helpers.runs import RUN, with_store
from tunebook.orphans import PARENT

# Memory is limited: a test whose processes stay must not take the machine down.
LIMITS = 'ulimit -v 40000000; exec "$@"'
SECONDS = 6.0


def start(folder: Path, *settings: str) -> "subprocess.Popen[bytes]":
    words = [*RUN, "trainer.max_epochs=2000", *settings, *with_store(folder)]
    command = ["bash", "-c", LIMITS, "bash", sys.executable, str(ROOT / "src" / "train.py"), *words]
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def is_at_work(process: psutil.Process) -> bool:
    """Return whether a process is running.

    One that has ended may be listed until it is reaped.
    """
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_gone_soon(processes: list[psutil.Process], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while any(map(is_at_work, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    left = [process for process in processes if is_at_work(process)]
    for process in left:
        process.kill()
    assert left == []


def devices(first: psutil.Process) -> list[psutil.Process]:
    """Return the processes that Lightning has started for the other devices."""
    found = []
    for child in first.children():
        with contextlib.suppress(psutil.Error):
            found += [child] if child.environ().get("LOCAL_RANK") == "1" else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["start", "epoch 2/"])
@pytest.mark.parametrize("workers", [0, 2])
def test_devices_processes_end_with_the_first(tmp_path: Path, moment: str, workers: int) -> None:
    """All processes of trainer=ddp end when the first is killed, in its start or in training."""
    process = start(
        tmp_path,
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2000",
        f"data.num_workers={workers}",
    )
    first = psutil.Process(process.pid)
    log = tmp_path / "log.txt"
    try:
        faults.wait_for(
            lambda: (
                devices(first)
                if moment == "start"
                else moment.replace("2/", "   2/") in log.read_text()
            ),
            120,
        )
        others = first.children(recursive=True)
        assert others
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert_gone_soon(others)


@pytest.mark.slow
def test_a_loader_s_workers_end_with_the_run(tmp_path: Path) -> None:
    process = start(tmp_path, "data.num_workers=2")
    first = psutil.Process(process.pid)
    try:
        faults.wait_for(lambda: "epoch    2/" in (tmp_path / "log.txt").read_text(), 120)
        workers = faults.wait_for(lambda: first.children(recursive=True))
    finally:
        process.kill()
        process.wait()
    assert_gone_soon(workers)


FIRST = """
import os, subprocess, sys, time
child = "import sys, time; import tunebook; print('ready', flush=True); time.sleep(60)"
environment = {**os.environ, sys.argv[1]: str(os.getpid()), "LOCAL_RANK": sys.argv[2]}
process = subprocess.Popen([sys.executable, "-c", child], env=environment, stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "ends"), [("1", True), ("0", False)])
def test_a_device_s_process_notices_within_a_second_or_two(rank: str, ends: bool) -> None:
    environment = {"PYTHONPATH": str(ROOT / "src")}
    first = subprocess.Popen(
        [sys.executable, "-c", FIRST, PARENT, rank],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    child = psutil.Process(int(first.stdout.readline()))
    time.sleep(1)
    assert child.is_running()  # it does not end before the first
    first.kill()
    first.communicate()
    if ends:
        return assert_gone_soon([child], 3)
    time.sleep(2)
    assert is_at_work(child)
    child.kill()
