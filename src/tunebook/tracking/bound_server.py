"""Run a Python module until it ends, or until the process that started this one ends.

Usage: `python bound_server.py mlflow ui ...`. The starting process holds the other end of standard
input and never writes to it. When that process dies, even by `kill -9`, the pipe is closed; then
the whole process group is ended. This file imports nothing of Tunebook, as it runs as a script.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

GRACE_S = 3.0  # between SIGTERM and SIGKILL


def _watch() -> None:
    """Wait until standard input is closed, then end the process group.

    It runs in a separate process, which ignores the signals that ask the others to end.
    """
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the module that the first argument names, with the arguments after it."""
    if os.fork() == 0:
        _watch()
    folder = str(Path(__file__).parent)
    # The modules in this folder are only to be imported as `tunebook.tracking.*`.
    sys.path[:] = [path for path in sys.path if path != folder]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
