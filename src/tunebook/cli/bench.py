"""Measure what the framework costs in comparison with a plain PyTorch training loop.

Usage: `python src/bench.py` (or `make bench`), with nothing else running on the machine.

Both loops train the same network on the same batches, in one process. They take turns every few
steps, so that a machine whose speed drifts slows both. The figure is the median over epochs of the
ratio of their times. Our time includes everything: Lightning, metrics, checkpoints, epoch lines,
the progress bar and MLflow. The share of checkpoints and journal, which let a run resume after a
crash, is reported on its own. So is the time from a process's start to its first training step.
"""

import argparse
import copy
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebook import program
from tunebook.config.compose import compose_config
from tunebook.config.output import quiet  # first: tunebook repairs torchvision's import

import pytorch_lightning as pl  # isort: skip
import torch  # isort: skip
from mlflow import MlflowClient  # isort: skip

from tunebook.cli.bench_images import measure
from tunebook.config.run_config import RunConfig
from tunebook.run_folder import RunFolder
from tunebook.runs.assemble import RunComponents, build
from tunebook.runs.execute import RunContext, fit
from tunebook.tracking.describe import cpu_name
from tunebook.tracking.journal import Journal
from tunebook.training import CheckpointCallback, GracefulShutdown

BLOCK = 10  # steps before it is the other loop's turn
STARTS = 3  # processes that are timed, after one that fills the disk cache


def median_and_range(values: list[float]) -> str:
    """Return the values' summary as text: `median (lowest to highest)`."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def parts_of(overrides: list[str]) -> RunComponents:
    """Return the objects that train.py would build from the overrides, with the data loaded."""
    settings = RunConfig.of(compose_config("config", overrides)).settings
    pl.seed_everything(settings["seed"], verbose=False)
    parts = build(settings)
    parts.data.setup("fit")
    return parts


class PlainLoop:
    """Train the same network, with the same optimizer and batches, as a notebook would."""

    def __init__(self, parts: RunComponents) -> None:
        self.data = parts.data
        self.network = copy.deepcopy(parts.task.network)
        self.optimizer = parts.task.make_optimizer(self.network.parameters())
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


def alternate(overrides: list[str]) -> Alternating:
    """Train with both loops and return their times; the first epoch only warms up."""
    parts = parts_of(overrides)
    clock = Alternating(PlainLoop(parts))
    parts.callbacks.insert(0, clock)
    with tempfile.TemporaryDirectory() as folder:
        run_folder = RunFolder(Path(folder) / "run", Path(folder), uri=parts.tracker.uri)
        run_folder.open()
        parts.tracker.open(run_folder)
        parts.tracker.describe("bench", "bench", {}, {})
        fit(RunContext(parts, run_folder.path, GracefulShutdown()))
        parts.tracker.close("FINISHED")
    return clock


def seconds_to_first_step(store: str) -> float:
    """Start train.py in a new process and return the start-up time that its MLflow run records."""
    overrides = ["debug=quick", "trainer.limit_train_batches=1", f"tracking.uri={store}"]
    subprocess.run(
        [*program.process("train"), *overrides],
        check=True,
        capture_output=True,
    )
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("debug")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], max_results=1)
    return float(run.data.metrics["time/first_step_s"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=" ".join(program.own_call(Path(sys.argv[0]).name)).removeprefix("python "),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--pairs", type=int, default=5, help="number of measured epochs, after one for warm-up"
    )
    parser.add_argument(
        "--images", type=Path, help="measure reading the images in this folder's class folders"
    )
    parser.add_argument("--side", type=int, default=64, help="size of these images, in pixels")
    parser.add_argument("overrides", nargs="*", help="settings, as for train.py")
    return parser


def main() -> None:
    """Run the benchmark and print its table."""
    arguments = _parser().parse_args()
    quiet()
    if arguments.images:
        measure(arguments.images.absolute(), arguments.side, arguments.pairs)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        settings = [
            f"tracking.uri={store}",
            "trainer.precision=32-true",
            f"trainer.max_epochs={arguments.pairs + 1}",
        ]
        clock = alternate([*settings, *arguments.overrides])
        starts = [seconds_to_first_step(store) for _ in range(STARTS + 1)][1:]
    ours, theirs = clock.ours[1:], clock.plain[1:]
    share = clock.surviving_percent[1:]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(
        f"\non {cpu_name()}, {torch.get_num_threads()} threads, n = {len(ratios)} pairs; "
        "median (lowest to highest)\n"
    )
    print("| | ours | plain loop |\n| --- | --- | --- |")
    print(f"| epoch, s | {median_and_range(ours)} | {median_and_range(theirs)} |")
    print(
        f"| training step, ms | {median_and_range(clock.step_ms)} | "
        f"{median_and_range(clock.plain_loop.step_ms)} |"
    )
    print(f"| epoch, ours / plain | {median_and_range(ratios)} | 1 |")
    print(f"| of an epoch, checkpoints and journal, % | {median_and_range(share)} | |")
    print(f"| start to first step, s (n = {STARTS}) | {median_and_range(starts)} | |")
