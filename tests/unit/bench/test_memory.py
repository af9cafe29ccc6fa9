"""The memory of a command is that of all its processes, and a shared page counts once."""

import subprocess
import sys

import psutil
import pytest

from tunebook import program
from tunebook.bench import memory
from tunebook.bench.memory import measure_memory, peak_gb, tree_pss

MB = 1_000_000
HELD = 60 * MB
# A process that holds memory, and a child of it that holds as much of its own if it is asked to.
HOLDS = f"""
import os, sys, time
held = bytearray(os.urandom(1024)) * ({HELD} // 1024)
if os.fork() == 0 and sys.argv[1] == "own":
    other = bytearray(os.urandom(1024)) * ({HELD} // 1024)
print("ready", flush=True)
time.sleep(60)
"""


def held_by(what: str) -> int:
    with subprocess.Popen([sys.executable, "-c", HOLDS, what], stdout=subprocess.PIPE) as process:
        root = psutil.Process(process.pid)
        try:
            assert process.stdout is not None
            for _ in range(2):
                process.stdout.readline()
            return tree_pss(root)
        finally:
            for one in [*root.children(), root]:
                one.kill()


def test_the_memory_of_children_counts_and_a_shared_page_counts_once() -> None:
    shared, own = held_by("shared"), held_by("own")
    assert HELD <= shared < 1.6 * HELD
    assert shared + 0.8 * HELD <= own < shared + 1.6 * HELD


def test_a_process_that_ended_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        root = psutil.Process(process.pid)
    assert tree_pss(root) == 0


def test_the_peak_is_found_and_a_failure_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import time; held = bytearray(b'1') * {HELD}; time.sleep(0.5); del held"
    monkeypatch.setattr(program, "process", lambda command: [sys.executable, "-c", code])
    assert HELD / 1e9 <= peak_gb("train", []) < 2 * HELD / 1e9
    failing = [sys.executable, "-c", "raise SystemExit('no reason')"]
    monkeypatch.setattr(program, "process", lambda command: failing)
    with pytest.raises(RuntimeError, match="train seed=1: no reason"):
        peak_gb("train", ["seed=1"])


def test_the_table_has_what_a_further_worker_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def peak(command: str, words: list[str]) -> float:
        asked.append(words)
        return 1.0 + 0.5 * ("sweep.workers=2" in words)

    monkeypatch.setattr(memory, "peak_gb", peak)
    table = measure_memory(2, ["data=digits"])
    assert [(row.unit, list(row.values)) for row in table.rows] == [
        ("GB", [1.0, 1.0]), ("GB", [1.0, 1.0]), ("GB", [1.5, 1.5]), ("GB", [0.5, 0.5]),
    ]  # fmt: skip
    assert all("data=digits" in words for words in asked)
    assert ["-m" in words for words in asked] == [False, True, True] * 2
    seeds = [word for words in asked for word in words if word.startswith("seed=")]
    assert seeds == ["seed=range(1,3)", "seed=range(1,5)"] * 2  # as many trials for each worker


@pytest.mark.slow
def test_a_run_and_sweeps_are_measured() -> None:
    table = measure_memory(1, ["data=digits", "trainer=cpu", "debug=quick"])
    run, few, many, further = (row.values[0] for row in table.rows)
    assert min(run, few, many) > 0.1
    assert further == many - few
