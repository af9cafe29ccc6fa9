"""What this machine has: bounds on settings that would take more than there is."""

import os
from pathlib import Path

import psutil

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
PROCESSES_A_CORE = 4  # more of them only wait for each other


def processors() -> int:
    """Return how many processors this process may use, hyperthreads counted."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_processes() -> int:
    """Return how many processes at work beside each other this machine is trusted with."""
    return PROCESSES_A_CORE * processors()


def memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or its container's where that is less."""
    found = [int(psutil.virtual_memory().total)]
    for path in CGROUP_LIMITS:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            found.append(int(text))
    return min(found)


def in_words(size: float) -> str:
    """Return a number of bytes as a person would say it, e.g. "24 GB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:,.0f} {unit}"
    return f"{size:,.0f} bytes"
