"""Measure how fast batches of images are read, in comparison with torchvision's ImageFolder.

All ways read the same files and take turns, so that a machine whose speed drifts slows all. Each
reads every image once, in random order, as uint8 tensors of one size. A way's figure is the median
over the rounds of its images per second, and of the ratio to ImageFolder with as many workers.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from tunebook.config.compose import compose_config
from tunebook.config.run_config import RunConfig
from tunebook.runs.assemble import build
from tunebook.tracking.describe import cpu_name

BATCH = 128
WORKERS = (0, 1, 2)


def _ours(root: Path, side: int, batch: int, cache: str, folder: Path, workers: int) -> Any:
    """Return the training loader of a run whose images are all training images but a few."""
    overrides = [
        "data=image_folder", f"data.root={root}", f"data.image_size={side}", f"data.cache={cache}",
        f"data.cache_root={folder}", f"data.num_workers={workers}", "data.channels=3",
        f"data.batch_size={batch}", "data.val_fraction=0.01", "data.test_fraction=0.01",
        "tracking=off",
    ]  # fmt: skip
    data = build(RunConfig.of(compose_config("config", overrides)).settings).data
    data.setup("fit")
    return data.train_dataloader()


def _torchvision(root: Path, side: int, batch: int, workers: int) -> Any:
    """Return a loader as it is written with torchvision."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, PILToTensor, Resize

    return DataLoader(
        ImageFolder(str(root), Compose([Resize((side, side)), PILToTensor()])),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )


def _images_per_second(loader: Iterable[Any]) -> float:
    start, count = time.perf_counter(), 0
    for batch in loader:
        count += len(batch[0])
    return count / (time.perf_counter() - start)


def measure(root: Path, side: int, rounds: int) -> None:
    """Print the images per second of each way to read the images in `root/<class>/*`."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cached = partial(_ours, root, side, BATCH, "disk", Path(folder))
        decoded = partial(_ours, root, side, BATCH, "none", Path(folder))
        ways: dict[str, Callable[[], Any]] = {"cache, 0 workers": partial(cached, 0)}
        for workers in WORKERS:
            ways[f"files, {workers} workers"] = partial(decoded, workers)
            ways[f"ImageFolder, {workers} workers"] = partial(
                _torchvision, root, side, BATCH, workers
            )
        loaders = {name: make() for name, make in ways.items()}
        found: dict[str, list[float]] = {name: [] for name in loaders}
        for number in range(rounds + 1):
            for name, loader in loaders.items():
                speed = _images_per_second(loader)
                if number:  # the first round fills the system's cache of files
                    found[name].append(speed)
    print(f"{cpu_name()}, images of {side} x {side}, n = {rounds} rounds after one for warm-up\n")
    for name, speeds in found.items():
        peer = found[f"ImageFolder, {name.partition(', ')[2]}"]
        ratios = [ours / theirs for ours, theirs in zip(speeds, peer, strict=True)]
        print(
            f"{name:24} {statistics.median(speeds):9,.0f} images/s "
            f"({min(speeds):,.0f} to {max(speeds):,.0f})   "
            f"{statistics.median(ratios):.2f} times ImageFolder"
        )
