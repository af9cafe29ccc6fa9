"""Find the processors and the memory that this process may use, and keep memory for reuse."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
# Parameters of glibc's mallopt (man 3 mallopt), and the bytes that they are set to.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT = -1, -3, 2**30


def processors() -> int:
    """Return how many processors this process may use; each hyperthread counts as one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores() -> int:
    """Return how many processor cores this process may use; hyperthreads share a core."""
    available = processors()
    return max(1, min(available, psutil.cpu_count(logical=False) or available))


def memory() -> int:
    """Return how many bytes this process may use: the machine's memory, or a lower limit."""
    return min([int(psutil.virtual_memory().total), *_cgroup_limits(), *_address_space()])


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, up to 1 GiB, instead of returning it to the system.

    Each training step allocates tensors of the same sizes again. If their memory was returned, the
    system has to provide each page anew. Only glibc can be told so; elsewhere, nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system than Linux
        return
    mallopt(M_MMAP_THRESHOLD, KEPT)
    mallopt(M_TRIM_THRESHOLD, KEPT)


def _address_space() -> Iterator[int]:
    """Yield the limit that `ulimit -v` sets, if there is one."""
    with contextlib.suppress(ImportError):  # Windows has none
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield int(soft)


def _cgroup_limits() -> Iterator[int]:
    """Yield each memory limit of this process's control groups (of a container, of a batch job)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = base / path.lstrip("/")
        # A container may mount its own group as the root, so that the path itself does not exist.
        for folder in (own, *own.parents):
            if folder.is_relative_to(base):
                with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
                    yield int((folder / name).read_text())
