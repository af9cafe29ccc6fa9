"""Measure what the framework costs in comparison with a plain PyTorch training loop.

Both loops train the same network on the same batches, in one process. They take turns every few
steps, so that a machine whose speed drifts slows both. The figure is the median over epochs of the
ratio of their times. Our time includes everything: Lightning, metrics, checkpoints, epoch lines,
the progress bar and MLflow. The share of checkpoints and journal, which let a run resume after a
crash, is reported on its own.
"""

import copy
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from tunebook.bench.tables import Row, Table, ratios
from tunebook.config.compose import compose_config
from tunebook.config.run_config import RunConfig
from tunebook.machine import keep_freed_memory
from tunebook.run_folder import RunFolder
from tunebook.runs.assemble import RunComponents, build
from tunebook.runs.execute import RunContext, choose_precision, fit
from tunebook.tracking.journal import Journal
from tunebook.training import CheckpointCallback, GracefulShutdown

BLOCK = 10  # steps before it is the other loop's turn


def parts_of(overrides: Sequence[str]) -> RunComponents:
    """Return the objects that train.py would build from the overrides, with the data loaded."""
    settings = RunConfig.of(compose_config("config", list(overrides))).settings
    keep_freed_memory()
    chosen = choose_precision(settings, None).precision
    pl.seed_everything(settings["seed"], verbose=False)
    parts = build(settings | {"trainer": settings["trainer"] | {"precision": chosen}})
    parts.data.setup("fit")
    return parts


class PlainLoop:
    """Train the same network, with the same optimizer and batches, as a notebook would."""

    def __init__(self, parts: RunComponents) -> None:
        self.data = parts.data
        self.network = copy.deepcopy(parts.task.network)
        self.optimizer = parts.task.make_optimizer(self.network.parameters())
        self.in_bf16 = parts.settings["trainer"]["precision"] == "bf16-mixed"
        self.step_ms: list[float] = []

    def start_epoch(self, batches: int) -> None:
        """Start an epoch of `batches` training batches."""
        self.batches = itertools.islice(iter(self.data.train_dataloader()), batches)
        self.network.train()
        self.total, self.correct, self.count = torch.zeros(()), torch.zeros((), dtype=torch.long), 0

    def train(self, steps: int | None) -> float:
        """Train for `steps` steps (None: the rest of the epoch) and return the seconds taken."""
        start = before = time.perf_counter()
        for images, labels, _ in itertools.islice(self.batches, steps):
            loss = self._forward(images, labels)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            now = time.perf_counter()
            self.step_ms.append((now - before) * 1000)
            before = now
        return time.perf_counter() - start

    def validate(self) -> float:
        """Validate, compute both metrics, and return the seconds taken."""
        start = time.perf_counter()
        self.network.eval()
        with torch.no_grad():
            for images, labels, _ in self.data.val_dataloader():
                self._forward(images, labels)
        self.figures = float(self.total) / self.count, float(self.correct) / self.count
        return time.perf_counter() - start

    def _forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.in_bf16):
            logits = self.network(images.to(torch.float32).div_(255))
            loss = torch.nn.functional.cross_entropy(logits, labels)
        self.total += loss.detach() * len(labels)
        self.correct += (logits.argmax(1) == labels).sum()
        self.count += len(labels)
        return loss


class Stopwatch:
    """Add up the seconds that the main thread spends in a few methods, which it wraps."""

    def __init__(self, *functions: tuple[type, str]) -> None:
        self.seconds, self._inside = 0.0, False
        for owner, name in functions:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside or threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            start, self._inside = time.perf_counter(), True
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start
                self._inside = False

        return timed


class Alternating(pl.Callback):
    """Run an epoch of the plain loop within each of our epochs, alternating in blocks of steps.

    Our epoch lasts until the next one begins, so its time includes validation and checkpoints.
    """

    def __init__(self, plain_loop: PlainLoop) -> None:
        self.plain_loop = plain_loop
        self.surviving = Stopwatch(
            (CheckpointCallback, "save"),
            (CheckpointCallback, "on_validation_end"),
            (Journal, "append"),
        )
        self.surviving_percent: list[float] = []
        self.ours: list[float] = []
        self.plain: list[float] = []
        self.step_ms: list[float] = []
        self.start = self.step_start = self.plain_s = 0.0

    def _pause(self, seconds: float) -> None:
        """Subtract the time of the plain loop's turn from our epoch and our current step."""
        self.plain_s += seconds
        self.step_start += seconds

    def _close_epoch(self) -> None:
        if self.start:
            self.ours.append(time.perf_counter() - self.start - self.plain_s)
            self.plain.append(self.plain_s)
            self.surviving_percent.append(100 * self.surviving.seconds / self.ours[-1])
            print(
                f"epoch {len(self.ours) - 1}: ours {self.ours[-1]:.2f} s, "
                f"plain {self.plain[-1]:.2f} s",
                flush=True,
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close our last epoch and start the next."""
        self._close_epoch()
        self.plain_loop.start_epoch(int(trainer.num_training_batches))
        self.plain_s = self.surviving.seconds = 0.0
        self.start = self.step_start = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Give the plain loop its turn after every `BLOCK` steps."""
        if batch_idx % BLOCK == 0:
            self._pause(self.plain_loop.train(BLOCK))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any
    ) -> None:
        """Record the time of one step, counted from the end of the step before."""
        now = time.perf_counter()
        self.step_ms.append((now - self.step_start) * 1000)
        self.step_start = now

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the plain loop finish its epoch and validate."""
        self._pause(self.plain_loop.train(None) + self.plain_loop.validate())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close our last epoch."""
        self._close_epoch()


def train_recorded(parts: RunComponents, clock: pl.Callback) -> None:
    """Train with a callback that measures, and with everything that belongs to a run."""
    parts.callbacks.insert(0, clock)
    with tempfile.TemporaryDirectory() as folder:
        run_folder = RunFolder(Path(folder) / "run", Path(folder), uri=parts.tracker.uri)
        run_folder.open()
        parts.tracker.open(run_folder)
        parts.tracker.describe("bench", "bench", {}, {})
        fit(RunContext(parts, run_folder.path, GracefulShutdown()))
        parts.tracker.close("FINISHED")


def measure_plain_loop(pairs: int, overrides: Sequence[str]) -> Table:
    """Train with both loops for `pairs` epochs, after one that only warms up."""
    with tempfile.TemporaryDirectory() as folder:
        parts = parts_of(
            [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"trainer.max_epochs={pairs + 1}",
             *overrides]
        )  # fmt: skip
        clock = Alternating(PlainLoop(parts))
        train_recorded(parts, clock)
    ours, plain = clock.ours[1:], clock.plain[1:]
    return Table(
        f"an epoch beside a plain PyTorch loop ({parts.settings['trainer']['precision']})",
        [
            Row("epoch, ours", "s", ours),
            Row("epoch, plain loop", "s", plain),
            Row("epoch, ours / plain loop", "", ratios(ours, plain)),
            Row("training step, ours", "ms", clock.step_ms),
            Row("training step, plain loop", "ms", clock.plain_loop.step_ms),
            Row("of an epoch, checkpoints and journal", "%", clock.surviving_percent[1:]),
        ],
    )
