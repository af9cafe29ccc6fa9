"""Measure how long whole commands take, from the start of their process on."""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient

from tunebook import program
from tunebook.bench.tables import Row, Table

DIGITS = ("data=digits", "trainer.max_epochs=1")
# Name -> a command, its words, and its exit status.
COMMANDS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "train --help": ("train", ("--help",), 0),
    "a name that does not exist": ("train", ("model.fitlers=8",), 2),
    "a value that is not allowed": ("train", ("model.filters=-1",), 2),
    "evaluate a run that does not exist": ("evaluate", ("run=0000",), 2),
    "a run of digits, one epoch": ("train", DIGITS, 0),
    "the same without model and pictures": (
        "train",
        (*DIGITS, "tracking.save_model=false", "tracking.save_pictures=false"),
        0,
    ),
}
FIRST_STEP = ("debug=quick", "trainer.limit_train_batches=1")
TAKES_STORE = ("train", "evaluate")


def seconds_of(command: str, words: Sequence[str], status: int) -> float:
    """Return the seconds that a command takes.

    Raises RuntimeError if it ends with another status.
    """
    start = time.perf_counter()
    done = subprocess.run([*program.process(command), *words], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != status:
        raise RuntimeError(f"{command} {' '.join(words)}: status {done.returncode}: {done.stderr}")
    return seconds


def seconds_to_first_step(store: str, outputs: str) -> float:
    """Start train.py in a new process and return the start-up time that its MLflow run records."""
    seconds_of("train", [*FIRST_STEP, store, outputs], 0)
    client = MlflowClient(store.partition("=")[2])
    experiment = client.get_experiment_by_name("debug")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], max_results=1)
    return float(run.data.metrics["time/first_step_s"])


def measure_commands(rounds: int) -> Table:
    """Run all commands in turn, in `rounds` rounds after one that fills the disk's cache."""
    found: dict[str, list[float]] = {"start to first training step": []}
    found |= {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        store, outputs = f"tracking.uri=sqlite:///{folder}/mlflow.db", f"outputs={folder}/outputs"
        for number in range(rounds + 1):
            seconds = {"start to first training step": seconds_to_first_step(store, outputs)}
            for name, (command, words, status) in COMMANDS.items():
                places = () if "--help" in words else (store, outputs)[: 1 + (command == "train")]
                seconds[name] = seconds_of(command, [*words, *places], status)
            if number:
                for name, value in seconds.items():
                    found[name].append(value)
        assert Path(folder, "mlflow.db").exists()
    rows = [Row(name, "s", values) for name, values in found.items()]
    return Table("commands, from the start of their process on", rows)
