"""Memory that a training step frees is there for the next one."""

import platform
import subprocess
import sys

import pytest

# Allocates and frees two tensors of 16 MB as often as given, and prints the faults of a page.
STEPS = """
import resource, sys
import torch
from tunebook.machine import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    torch.ones(2**22) + torch.ones(2**22)
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50)
"""


def page_faults_of_a_step(how: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_step_needs_no_new_memory() -> None:
    assert page_faults_of_a_step("kept") < page_faults_of_a_step("returned") / 10
