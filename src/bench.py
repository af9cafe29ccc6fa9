"""What the framework costs: our training epoch against a plain PyTorch loop of the same mathematics on the same batches.

`python src/bench.py` (or `make bench`). Both train in one process, an epoch each in turn, so that a machine whose speed drifts slows both;
the figure is the median of the pairs' ratios. Ours is the whole of it: Lightning, metrics, checkpoints, epoch lines, progress bar, MLflow.
Then the time from a process's start to the end of its first training step. Let nothing else run meanwhile.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tunebook.commandline.entry import quiet  # tunebook first: it mends the import of torchvision
from tunebook.commandline.names import compose_points

import pytorch_lightning as pl  # isort: skip
import torch  # isort: skip
from mlflow import MlflowClient  # isort: skip
from omegaconf import open_dict  # isort: skip

from tunebook.experiment.assembly import Parts, build, plain
from tunebook.experiment.run import fit
from tunebook.tracking.describe import cpu_name
from tunebook.training import StopAtBatchEnd

STARTS = 3  # processes timed, after one that fills the disk cache


def median_and_range(values: list[float]) -> str:
    """Median (lowest to highest)."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def parts_of(overrides: list[str]) -> Parts:
    """The objects of train.py's config, the data loaded."""
    (cfg,) = compose_points("config", overrides, multirun=False)
    with open_dict(cfg):
        del cfg["hydra"]
    settings = plain(cfg)
    pl.seed_everything(settings["seed"], verbose=False)
    parts = build(settings)
    parts.data.setup("fit")
    return parts


class PlainLoop:
    """The training that a notebook would hold: the same network, optimizer and batches, nothing else."""

    def __init__(self, parts: Parts) -> None:
        self.data = parts.data
        self.network = copy.deepcopy(parts.classifier.network)
        self.optimizer = parts.classifier.make_optimizer(self.network.parameters())
        self.step_ms: list[float] = []

    def epoch(self) -> float:
        """Seconds of one epoch: training with its mean loss and accuracy, then validation."""
        start = time.perf_counter()
        self.network.train()
        self._batches(self.data.train_dataloader(), train=True)
        self.network.eval()
        with torch.no_grad():
            self._batches(self.data.val_dataloader(), train=False)
        return time.perf_counter() - start

    def _batches(self, batches: Any, train: bool) -> tuple[float, float]:
        total, correct, count = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
        start = time.perf_counter()
        for images, labels, _ in batches:
            logits = self.network(images.to(torch.float32).div_(255))
            loss = torch.nn.functional.cross_entropy(logits, labels)
            if train:
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            total += loss.detach() * len(labels)
            correct += (logits.argmax(1) == labels).sum()
            count += len(labels)
            if train:
                now = time.perf_counter()
                self.step_ms.append((now - start) * 1000)
                start = now
        return float(total) / count, float(correct) / count


class Alternating(pl.Callback):
    """Before each of our epochs, an epoch of the plain loop. Ours ends where the next begins, with all that belongs to it."""

    def __init__(self, plain_loop: PlainLoop) -> None:
        self.plain_loop = plain_loop
        self.ours: list[float] = []
        self.plain: list[float] = []
        self.step_ms: list[float] = []
        self.start = self.step_start = 0.0

    def _close_epoch(self) -> None:
        if self.plain:
            self.ours.append(time.perf_counter() - self.start)
            print(f"pair {len(self.ours) - 1}: ours {self.ours[-1]:.2f} s, plain {self.plain[-1]:.2f} s", flush=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The end of our last epoch; the plain loop's; the start of our next."""
        self._close_epoch()
        self.plain.append(self.plain_loop.epoch())
        self.start = self.step_start = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        """One step, from the end of the one before."""
        now = time.perf_counter()
        self.step_ms.append((now - self.step_start) * 1000)
        self.step_start = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The end of our last epoch."""
        self._close_epoch()


def alternate(overrides: list[str]) -> Alternating:
    """Trains both. The first pair of epochs only warms up."""
    parts = parts_of(overrides)
    clock = Alternating(PlainLoop(parts))
    parts.callbacks.insert(0, clock)
    with tempfile.TemporaryDirectory() as folder:
        parts.tracker.open("bench", "bench", {}, {})
        fit(parts, Path(folder), StopAtBatchEnd())
        parts.tracker.close("FINISHED")
    return clock


def seconds_to_first_step(store: str) -> float:
    """Of a new process of train.py, as its MLflow run says."""
    overrides = ["debug=quick", "trainer.limit_train_batches=1", f"tracking.uri={store}"]
    subprocess.run([sys.executable, str(Path(__file__).with_name("train.py")), *overrides], check=True, capture_output=True)
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("debug")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], max_results=1)
    return float(run.data.metrics["time/first_step_s"])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of epochs that count, after one that warms up")
    parser.add_argument("overrides", nargs="*", help="settings, as for train.py")
    arguments = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        settings = [f"tracking.uri={store}", "trainer.precision=32-true", f"trainer.max_epochs={arguments.pairs + 1}"]
        clock = alternate([*settings, *arguments.overrides])
        starts = [seconds_to_first_step(store) for _ in range(STARTS + 1)][1:]
    ours, theirs = clock.ours[1:], clock.plain[1:]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"\non {cpu_name()}, {torch.get_num_threads()} threads, n = {len(ratios)} pairs; median (lowest to highest)\n")
    print("| | ours | plain loop |\n| --- | --- | --- |")
    print(f"| epoch, s | {median_and_range(ours)} | {median_and_range(theirs)} |")
    print(f"| training step, ms | {median_and_range(clock.step_ms)} | {median_and_range(clock.plain_loop.step_ms)} |")
    print(f"| epoch, ours / plain | {median_and_range(ratios)} | 1 |")
    print(f"| start to first step, s (n = {STARTS}) | {median_and_range(starts)} | |")


if __name__ == "__main__":
    main()
