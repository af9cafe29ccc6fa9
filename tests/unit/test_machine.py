"""Memory that a training step frees is there for the next one."""

import subprocess
import sys
from ctypes import CDLL

import pytest

# Allocates and frees a tensor of 64 MiB 50 times. Prints how often the C library asked the system
# for that much memory. The fields are mallinfo2's (man 3 mallinfo).
STEPS = """
import ctypes, sys
import torch
from tunebook.machine import keep_freed_memory

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd",
        "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
if sys.argv[1] == "kept":
    keep_freed_memory()
def from_the_system():
    info = mallinfo2()
    return info.arena + info.hblkhd

asked = 0
for _ in range(50):
    before = from_the_system()
    tensor = torch.ones(2**24)
    asked += from_the_system() - before >= 2**26
    del tensor
print(asked)
"""


def requests_for_memory(how: str) -> int:
    """Return how many of the 50 steps asked the system for memory, `kept` or `returned`."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(
    not hasattr(CDLL(None), "mallinfo2"), reason="only glibc, from 2.33, tells what it keeps"
)
def test_a_step_needs_no_new_memory() -> None:
    # Alignment splits some blocks; the C library sets at most 7 of the small remainders aside.
    assert requests_for_memory("kept") < 10
    assert requests_for_memory("returned") == 50
