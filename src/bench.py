"""What the framework costs: our training epoch against a plain PyTorch loop of the same mathematics on the same batches.

`python src/bench.py` (or `make bench`). Both train in one process, an epoch each in turn, so that a machine whose speed drifts slows both;
the figure is the median of the pairs' ratios. Ours is the whole of it: Lightning, metrics, checkpoints, epoch lines, progress bar, MLflow.
Then the time from a process's start to the end of its first training step. Let nothing else run meanwhile.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tunebook.commandline.entry import quiet
from tunebook.commandline.names import compose_points
from tunebook.tracking.describe import cpu_name

START_TIMES = 3  # processes started, after one that fills the disk cache


def median_and_range(values: list[float]) -> str:
    """Median (lowest to highest)."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


class PlainLoop:
    """The training that a notebook would hold: network, optimizer and batches of the same config, nothing else."""

    def __init__(self, overrides: list[str]) -> None:
        import pytorch_lightning as pl
        import torch
        from omegaconf import open_dict

        from tunebook.experiment.assembly import build, plain

        (cfg,) = compose_points("config", overrides, multirun=False)
        with open_dict(cfg):
            del cfg["hydra"]
        pl.seed_everything(1337, verbose=False)
        self.parts = build(plain(cfg))
        self.data = self.parts.data
        self.data.setup("fit")
        self.network = self.parts.classifier.network
        self.optimizer = self.parts.classifier.make_optimizer(self.network.parameters())
        self.torch = torch
        self.step_ms: list[float] = []

    def epoch(self) -> float:
        """Seconds of one epoch: training with its mean loss and accuracy, then validation."""
        torch = self.torch
        start = time.perf_counter()
        self.network.train()
        self._batches(self.data.train_dataloader(), train=True)
        self.network.eval()
        with torch.no_grad():
            self._batches(self.data.val_dataloader(), train=False)
        return time.perf_counter() - start

    def _batches(self, batches: Any, train: bool) -> tuple[float, float]:
        torch = self.torch
        total, correct, count = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
        for images, labels, _ in batches:
            start = time.perf_counter()
            logits = self.network(images.to(torch.float32).div_(255))
            loss = torch.nn.functional.cross_entropy(logits, labels)
            if train:
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.step_ms.append((time.perf_counter() - start) * 1000)
            total += loss.detach() * len(labels)
            correct += (logits.argmax(1) == labels).sum()
            count += len(labels)
        return float(total) / count, float(correct) / count


def alternating(plain: PlainLoop, pairs: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of our epochs and of the plain loop's, and our steps' milliseconds. The first pair of epochs only warms up."""
    from pytorch_lightning import Callback

    from tunebook.experiment.run import fit
    from tunebook.training import StopAtBatchEnd

    class Alternate(Callback):
        def __init__(self) -> None:
            self.ours: list[float] = []
            self.plain: list[float] = []
            self.steps: list[float] = []
            self.start = self.step_start = 0.0

        def close_epoch(self) -> None:
            if self.plain:
                self.ours.append(time.perf_counter() - self.start)
                print(f"pair {len(self.ours) - 1}: ours {self.ours[-1]:.2f} s, plain {self.plain[-1]:.2f} s", flush=True)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.close_epoch()
            self.plain.append(plain.epoch())
            self.start = self.step_start = time.perf_counter()

        def on_train_batch_end(self, *args: Any) -> None:
            now = time.perf_counter()
            self.steps.append((now - self.step_start) * 1000)
            self.step_start = now

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.close_epoch()

    clock = Alternate()
    parts = plain.parts
    parts.settings["trainer"]["max_epochs"] = pairs + 1
    parts.callbacks.append(clock)
    # `plain` owns the first network; ours starts from the same weights.
    import copy

    parts.classifier.network = copy.deepcopy(plain.network)
    with tempfile.TemporaryDirectory() as folder:
        parts.tracker.open("bench", "bench", {}, {})
        fit(parts, Path(folder), StopAtBatchEnd())
        parts.tracker.close("FINISHED")
    return clock.ours[1:], clock.plain[1:], clock.steps


def seconds_to_first_step(store: str) -> float:
    """Of a new process of train.py, as its MLflow run says."""
    from mlflow import MlflowClient

    command = [
        sys.executable,
        str(Path(__file__).with_name("train.py")),
        "debug=quick",
        "trainer.limit_train_batches=1",
        f"tracking.uri={store}",
    ]
    subprocess.run(command, check=True, capture_output=True)
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
        plain = PlainLoop([f"tracking.uri={store}", "trainer.precision=32-true", *arguments.overrides])
        ours, theirs, steps = alternating(plain, arguments.pairs)
        seconds_to_first_step(store)
        starts = [seconds_to_first_step(store) for _ in range(START_TIMES)]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"\non {cpu_name()}, {plain.torch.get_num_threads()} threads, n = {len(ratios)} pairs; median (lowest to highest)\n")
    print("| | ours | plain loop |\n| --- | --- | --- |")
    print(f"| epoch, s | {median_and_range(ours)} | {median_and_range(theirs)} |")
    print(f"| training step, ms | {median_and_range(steps)} | {median_and_range(plain.step_ms)} |")
    print(f"| epoch, ours / plain | {median_and_range(ratios)} | 1 |")
    print(f"| start to first step, s | {median_and_range(starts)} | |")


if __name__ == "__main__":
    main()
