"""Measure an epoch of the notebook's network beside the same network in Keras.

They take turns, an epoch each. Keras runs in a process of its own, which waits while we train. Its
interpreter may be another one, since TensorFlow and MLflow need different versions of packages.
"""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytorch_lightning as pl

from tunebook.bench.arrays import save_arrays
from tunebook.bench.peer_process import PEERS, PeerFailed, last_line
from tunebook.bench.plain_loop import parts_of, train_recorded
from tunebook.bench.tables import Row, Table, ratios

# Our precisions -> those of Keras that are measured beside them.
PRECISIONS = {"bf16-mixed": ("mixed_bfloat16", "float32"), "32-true": ("float32",)}


class Peer:
    """Hold a process that trains an epoch with Keras when it is asked to."""

    def __init__(self, python: str, arrays: Path, batch_size: int, precision: str) -> None:
        self._process = subprocess.Popen(
            [python, str(PEERS / "keras_peer.py"), str(arrays), str(batch_size), precision],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
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
            raise PeerFailed(last_line(self._process.stderr.read()))
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


def no_keras(python: str, error: PeerFailed) -> str:
    """Return the line that says why a table beside Keras is skipped."""
    return (
        f"{python} can't train with Keras ({error}); "
        "--keras-python names an interpreter that has keras and tensorflow"
    )


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
            for theirs in PRECISIONS[precision]:
                peers[theirs] = Peer(python, arrays, parts.data.batch_size, theirs)
            clock = TakingTurns(peers)
            train_recorded(parts, clock)
        except PeerFailed as error:
            table.skipped = no_keras(python, error)
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
