"""Runs a Python module until it ends, or the process that started this one does: `python bound_server.py mlflow ui ...`.

The starting process holds the other end of standard input and never writes. Its death closes it, even after
`kill -9`, which leaves it no time to do anything; then the whole process group is ended. (Imports nothing of
Tunebook: it runs as a script.)
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

GRACE_S = 3.0  # between asking and killing


def _watch() -> None:
    """Wait in a process of its own, which outlives what it asks to end, then end the group."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the module that the arguments name, with the arguments behind it."""
    if os.fork() == 0:
        _watch()
    folder = str(Path(__file__).parent)
    sys.path[:] = [path for path in sys.path if path != folder]  # its modules have other names
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
