"""Measure the peak memory of a run and of sweeps, with all their processes.

The figure is the sum of the proportional set sizes (PSS) of a process and its descendants. PSS
divides a page that several processes share by their number. A worker of a sweep shares the pages
of the imported packages with the process that it was forked from, and the resident set size (RSS)
would count them once for each worker. The benchmark itself has loaded torch's libraries, too, so
that a command alone would occupy somewhat more.
"""

import subprocess
import tempfile
import time
from collections.abc import Sequence

import psutil

from tunebook import program
from tunebook.bench.tables import Row, Table

EVERY_S = 0.1
GB = 1e9
WORKERS = (1, 2)
TRIALS = 2  # of each worker, which occupies more in its second than in its first


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it ended meanwhile
        return 0


def tree_pss(root: psutil.Process) -> int:
    """Return the bytes that a process and its descendants occupy."""
    try:
        return sum(map(_pss, [root, *root.children(recursive=True)]))
    except psutil.Error:
        return 0


def peak_gb(command: str, words: Sequence[str]) -> float:
    """Return the highest memory, in GB, of a command and the processes that it starts.

    Raises RuntimeError if it fails.
    """
    peak = 0
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*program.process(command), *words], stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            root = psutil.Process(process.pid)
            while process.poll() is None:
                peak = max(peak, tree_pss(root))
                time.sleep(EVERY_S)
        finally:
            process.terminate()
            process.wait()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command} {' '.join(words)}: {errors.read()}")
    return peak / GB


def measure_memory(rounds: int, overrides: Sequence[str]) -> Table:
    """Measure a run of one epoch and a sweep with each number of workers, in `rounds` rounds.

    Each worker has one thread and two trials, so that only the number of workers differs.
    """
    run: list[float] = []
    sweeps: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            words = [
                "trainer.max_epochs=1", *overrides, f"tracking.uri=sqlite:///{folder}/mlflow.db",
            ]  # fmt: skip
            run.append(peak_gb("train", [*words, f"outputs={folder}/outputs"]))
            for workers, found in sweeps.items():
                name = f"{number}-{workers}"
                sweep = [
                    "-m", *words, f"seed=range(1,{TRIALS * workers + 1})",
                    f"sweep.workers={workers}", "sweep.threads=1",
                    f"outputs={folder}/{name}", f"experiment_name={name}",
                ]  # fmt: skip
                found.append(peak_gb("train", sweep))
    few, many = sweeps.values()
    return Table(
        "peak memory of all processes, one epoch",
        [
            Row("a run", "GB", run),
            Row("a sweep, 1 worker", "GB", few),
            Row("a sweep, 2 workers", "GB", many),
            Row("each further worker", "GB", [b - a for a, b in zip(few, many, strict=True)]),
        ],
    )
