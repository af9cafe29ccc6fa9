"""Measure an epoch of the notebook's network beside the same network in Keras.

They take turns, an epoch each. Keras runs in a process of its own, which waits while we train. Its
interpreter may be another one, since TensorFlow and MLflow need different versions of packages.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl

from tunebook.bench import keras_peer
from tunebook.bench.plain_loop import parts_of, train_recorded
from tunebook.bench.tables import Row, Table, ratios
from tunebook.runs.assemble import RunComponents

# Our precisions -> those of Keras that are measured beside them.
PEERS = {"bf16-mixed": ("mixed_bfloat16", "float32"), "32-true": ("float32",)}


class KerasUnavailable(Exception):
    """Report that an interpreter can't train with Keras."""


class Peer:
    """Hold a process that trains an epoch with Keras when it is asked to."""

    def __init__(self, python: str, arrays: Path, batch_size: int, precision: str) -> None:
        self._process = subprocess.Popen(
            [python, keras_peer.__file__, str(arrays), str(batch_size), precision],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONSAFEPATH": "1"},  # the files beside the script are not for it
        )  # fmt: skip
        self._read("ready")

    def epoch(self) -> float:
        """Return the seconds of the next epoch."""
        assert self._process.stdin is not None
        self._process.stdin.write("epoch\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self, expected: str = "") -> str:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline().strip()
        if not line or expected not in line:
            last = (self._process.stderr.read().strip().splitlines() or ["no output"])[-1]
            raise KerasUnavailable(last)
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


class TakingTurns(pl.Callback):
    """Let each peer train an epoch before each of ours, which lasts until the next one begins."""

    def __init__(self, peers: dict[str, Peer]) -> None:
        self.peers = peers
        self.ours: list[float] = []
        self.theirs: dict[str, list[float]] = {name: [] for name in peers}
        self._start = 0.0

    def _close_epoch(self) -> None:
        if self._start:
            self.ours.append(time.perf_counter() - self._start)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close our last epoch, let the peers train theirs, and start our next."""
        self._close_epoch()
        for name, peer in self.peers.items():
            self.theirs[name].append(peer.epoch())
        self._start = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close our last epoch."""
        self._close_epoch()


def save_arrays(parts: RunComponents, file: Path) -> None:
    """Write the images and labels that both train with in an epoch."""
    arrays: dict[str, Any] = {}
    for split in ("train", "val"):
        chosen, limit = parts.data.sets[split], parts.settings["trainer"][f"limit_{split}_batches"]
        size = parts.data.batch_size if split == "train" else parts.data.eval_batch_size
        images = limit * size if isinstance(limit, int) else int(limit * len(chosen))
        arrays |= {
            f"{split}_images": chosen.images[:images].numpy()[:, 0],
            f"{split}_labels": chosen.labels[:images].numpy(),
        }
    np.savez(file, **arrays)


def measure_keras(pairs: int, overrides: Sequence[str], python: str) -> Table:
    """Train in turn for `pairs` epochs, after one that only warms up.

    python: the interpreter that has Keras.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        parts = parts_of([store, f"trainer.max_epochs={pairs + 1}", *overrides])
        precision = str(parts.settings["trainer"]["precision"])
        table = Table(f"an epoch of the notebook's network beside Keras ({precision})")
        arrays = Path(folder) / "arrays.npz"
        save_arrays(parts, arrays)
        peers: dict[str, Peer] = {}
        try:
            for theirs in PEERS[precision]:
                peers[theirs] = Peer(python, arrays, parts.data.batch_size, theirs)
            clock = TakingTurns(peers)
            train_recorded(parts, clock)
        except KerasUnavailable as error:
            table.skipped = (
                f"{python} can't train with Keras ({error}); "
                "--keras-python names an interpreter that has keras and tensorflow"
            )
            return table
        finally:
            for peer in peers.values():
                peer.__exit__()
    table.rows.append(Row("epoch, ours", "s", clock.ours[1:]))
    for theirs, seconds in clock.theirs.items():
        table.rows += [
            Row(f"epoch, Keras {theirs}", "s", seconds[1:]),
            Row(f"epoch, ours / Keras {theirs}", "", ratios(clock.ours[1:], seconds[1:])),
        ]
    return table
