"""MLflow's server ends with ui.py, however that ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.helpers.faults import wait_for
from tests.helpers.runs import with_store
from tunebook.tracking import bound_server

# A server that starts a child which ignores SIGTERM, as a worker that hangs does.
STUBBORN = """
import pathlib, subprocess, sys, time
child = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); \
print(flush=True); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
process.stdout.readline()
pathlib.Path(sys.argv[1]).write_text(str(process.pid))
time.sleep(600)
"""


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_server_ends_when_the_other_end_of_its_input_is_gone(tmp_path: Path) -> None:
    """A server and its children end when the other end of its input is closed.

    One child ignores SIGTERM. This is the fast part of the test below.
    """
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    command = [sys.executable, bound_server.__file__, "stubborn", str(tmp_path / "pid")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, env=environment
    )
    try:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 60)
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert len(family) == 3
        assert server.stdin is not None
        server.stdin.close()
        server.wait(20)
        wait_for(lambda: not alive(family), 20)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return with_store(tmp_path_factory.mktemp("ui"))[0]


def has_server(process: psutil.Process) -> bool:
    """Return whether ui.py has started the server, not only what MLflow's import starts."""
    with contextlib.suppress(psutil.Error):
        return any("bound_server" in " ".join(child.cmdline()) for child in process.children())
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGINT, 0),
        (signal.SIGKILL, -9),
        (signal.SIGQUIT, -3),
    ],
)
@pytest.mark.parametrize("when", ["starting", "serving"])
def test_mlflows_server_ends_with_ui(
    store: str, tmp_path: Path, signum: int, code: int, when: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log.txt"
    command = [sys.executable, str(ROOT / "src" / "ui.py"), f"port={port}", "browser=false", store]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=tmp_path)
    this = psutil.Process(process.pid)
    wait_for(
        lambda: (
            has_server(this)
            and (when == "starting" or "Ctrl-C stops the server" in log.read_text())
        ),
        200,
    )
    family = this.children(recursive=True)
    assert f"http://127.0.0.1:{port}/" in log.read_text() or when == "starting"
    start = time.monotonic()
    process.send_signal(signum)
    assert process.wait(30) == code, log.read_text()
    wait_for(lambda: not alive(family), 30)
    assert time.monotonic() - start < 20
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_server_that_dies_leaves_no_worker(store: str, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "src" / "ui.py"), "port=50917", "browser=false", store],
            stdout=out,
            stderr=out,
        )
    this = psutil.Process(process.pid)
    wait_for(lambda: "Ctrl-C stops the server" in log.read_text(), 200)
    family = this.children(recursive=True)
    this.children()[0].kill()
    process.wait(30)
    wait_for(lambda: not alive(family), 20)
