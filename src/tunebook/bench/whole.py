"""Measure a whole run beside the notebook's whole script in Keras.

They take turns, from the start of the process to its end. Both train on the same images for as
many epochs, validate after each, and test. We also write checkpoints, pictures and a servable
model, and record everything in MLflow. By default, a part of the training images validates;
`experiment=keras_notebook trainer.precision=auto` trains on all of them and validates on the test
images, as the notebook does.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tunebook.bench.arrays import save_arrays
from tunebook.bench.beside_keras import PRECISIONS, no_keras
from tunebook.bench.commands import FIRST_STEP, seconds_of
from tunebook.bench.peer_process import PeerFailed, run_peer
from tunebook.bench.plain_loop import parts_of
from tunebook.bench.tables import Row, Table, ratios
from tunebook.metrics.facts import LOSS, TEST, full_name

SPLITS = ("train", "val", "test")
TESTED = full_name(TEST, LOSS)
NEWEST = "SELECT value FROM metrics WHERE key = ? ORDER BY timestamp DESC LIMIT 1"


def _tested(folder: str) -> float:
    """Return the test loss of the newest run."""
    with contextlib.closing(sqlite3.connect(f"{folder}/mlflow.db")) as database:
        (value,) = database.execute(NEWEST, [TESTED]).fetchone()
    return float(value)


def _script(python: str, words: list[str], folder: str) -> tuple[float, float]:
    """Return the seconds of Keras's script, and its test loss."""
    seconds, last = run_peer(python, "keras_script.py", words, Path(folder))
    epochs, value = last.split()
    if epochs != words[2]:
        raise PeerFailed(f"{epochs} of {words[2]} epochs")
    return seconds, float(value)


def measure_whole(pairs: int, overrides: Sequence[str], python: str) -> Table:
    """Run both in turn, in `pairs` rounds, after a start of each that fills the disk's cache.

    python: the interpreter that has Keras.
    """
    seconds: dict[str, list[float]] = {"ours": [], "Keras": []}
    tested: dict[str, list[float]] = {"ours": [], "Keras": []}
    parts = parts_of([*overrides, "tracking=off"])
    epochs, precision = (parts.settings["trainer"][key] for key in ("max_epochs", "precision"))
    table = Table(f"a whole run of {epochs} epochs beside Keras ({precision})")
    with tempfile.TemporaryDirectory() as folder:
        places = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"outputs={folder}/outputs"]
        arrays, theirs = f"{folder}/arrays.npz", PRECISIONS[precision][0]
        save_arrays(parts, Path(arrays), SPLITS)
        # The probe behind `auto` was made above, and another might choose otherwise.
        ours = [*overrides, f"trainer.precision={precision}", *places]
        words = [arrays, str(parts.data.batch_size), str(epochs), theirs]
        try:
            _script(python, [*words[:2], "0", theirs], folder)
            seconds_of("train", [*ours, *FIRST_STEP], 0)
            for _ in range(pairs):
                taken, loss = _script(python, words, folder)
                seconds["Keras"].append(taken)
                tested["Keras"].append(loss)
                seconds["ours"].append(seconds_of("train", ours, 0))
                tested["ours"].append(_tested(folder))
        except PeerFailed as error:
            table.skipped = no_keras(python, error)
            return table
    table.rows = [
        Row("ours", "s", seconds["ours"]),
        Row(f"Keras {theirs}", "s", seconds["Keras"]),
        Row(f"ours / Keras {theirs}", "", ratios(seconds["ours"], seconds["Keras"])),
        *(Row(f"{TESTED}, {name}", "", found) for name, found in tested.items()),
    ]
    return table
