"""End a process soon after the process that started it has ended, for whatever reason.

Lightning starts a process for each device. If the first process is killed, the others would wait
for it in a collective operation or at a rendezvous, for up to half an hour.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

# The environment variable that holds the id of the process that starts the others.
PARENT = "TUNEBOOK_FIRST_PROCESS"
POLL_S = 0.5
EXIT_CODE = 1
# The environment variables from which Lightning reads a process's rank.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def is_first_process() -> bool:
    """Return whether this is a run's first or only process.

    A strategy such as ddp starts a process for each device.
    """
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") in ("", "0")


@contextlib.contextmanager
def naming_the_parent() -> Iterator[None]:
    """Name this process, within the block, as the parent of the processes that it starts."""
    os.environ[PARENT] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(PARENT, None)


def end_with_first_process() -> None:
    """End this process within a second after the first, if Lightning started it for a device."""
    parent = os.environ.get(PARENT, "")
    if os.environ.get("LOCAL_RANK", "0") != "0" and parent.isdigit():
        end_with_parent(int(parent))


def end_with_parent(parent: int, *_: object) -> None:
    """End this process within a second after its parent, whose process id is given.

    Further arguments are ignored: a DataLoader passes each worker its number.
    """
    threading.Thread(target=_watch, args=(parent,), name="watch the parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os._exit(EXIT_CODE)
