"""Run the script of another framework in a process of its own, with an interpreter of its own."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


class PeerFailed(Exception):
    """Report that an interpreter can't run a peer, or that the peer did not do its work."""


def last_line(text: str) -> str:
    """Return the last line of what a process wrote, which says why it ended."""
    return (text.strip().splitlines() or ["no output"])[-1]


def run_peer(python: str, script: str, words: Sequence[str], folder: Path) -> tuple[float, str]:
    """Run a script of `peers` in `folder`, and return its seconds and its last line of output.

    The seconds are those of the whole process. Raises PeerFailed if its status is not 0.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [python, str(PEERS / script), *words], capture_output=True, text=True, cwd=folder
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise PeerFailed(last_line(done.stderr))
    return seconds, last_line(done.stdout)
