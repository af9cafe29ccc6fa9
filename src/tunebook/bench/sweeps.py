"""Measure how long small sweeps take, which are mostly what a trial costs beside its training."""

import tempfile

from tunebook.bench.commands import DIGITS, seconds_of
from tunebook.bench.tables import Row, Table

WORKERS = 2
FEW, MANY = 4, 24  # trials


def measure_sweeps(rounds: int) -> Table:
    """Run a sweep of few and one of many trials in turn, and compute what a further trial costs."""
    seconds: dict[int, list[float]] = {FEW: [], MANY: []}
    with tempfile.TemporaryDirectory() as folder:
        store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        seconds_of("train", [*DIGITS, store, f"outputs={folder}/first"], 0)  # makes the store
        for number in range(rounds):
            for trials, found in seconds.items():
                words = [
                    "-m", *DIGITS, f"seed=range(1,{trials + 1})", f"sweep.workers={WORKERS}", store,
                    f"outputs={folder}/{number}-{trials}", f"experiment_name={number}-{trials}",
                ]  # fmt: skip
                found.append(seconds_of("train", words, 0))
    further = [
        WORKERS * (many - few) / (MANY - FEW)
        for few, many in zip(seconds[FEW], seconds[MANY], strict=True)
    ]
    return Table(
        f"sweeps of digits, one epoch, {WORKERS} workers, everything recorded",
        [
            Row(f"{MANY} trials, whole command", "s", seconds[MANY]),
            Row("a further trial, of one worker", "s", further),
        ],
    )
