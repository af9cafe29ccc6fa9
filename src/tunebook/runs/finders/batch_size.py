"""Suggest a batch size: train some steps with larger and larger batches, and time them."""

import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from pytorch_lightning.tuner.tuning import Tuner
from torch import nn

from tunebook.config.run_config import Settings
from tunebook.config.validation import InputError, SettingError
from tunebook.runs.assemble import RunComponents, build
from tunebook.runs.finders.outcome import Outcome
from tunebook.runs.memory import check_memory

log = logging.getLogger(__name__)

SMALLEST, LARGEST = 8, 8192
STEPS = 6  # with each batch size; the first is not timed
WORTHWHILE = 1.05  # a larger batch has to be this much faster to be suggested


class Speed(NamedTuple):
    """Hold how fast a batch size trains, in images per second (median of its steps)."""

    batch_size: int
    images_per_s: float


def largest_batch(settings: Settings) -> int:
    """Return the largest batch size to try: a power of two, from 8 to 8192.

    It is at most half of the training images, and the estimate of its memory is available.
    """
    with torch.device("meta"):
        parts = build(settings)
        size = SMALLEST
        while 2 * size <= min(LARGEST, parts.data.train_size // 2):
            parts.data.batch_size = 2 * size
            try:
                check_memory(parts)
            except SettingError:
                break
            size *= 2
    return size


def find_batch_size(
    parts: RunComponents, trainer: pl.Trainer, outcome: Outcome, largest: int
) -> None:
    """Train some steps with each batch size up to `largest`, and suggest the fastest that fits.

    Raises InputError if an epoch has too few images to time a step.
    """
    starts: list[tuple[int, float] | None] = []

    def note_start(network: nn.Module, args: tuple[Any, ...]) -> None:
        starts.append((len(args[0]), time.perf_counter()) if network.training else None)

    parts.data.batch_size = SMALLEST  # Lightning tries the first size with the loader that is there
    with parts.task.network.register_forward_pre_hook(note_start):
        Tuner(trainer).scale_batch_size(
            parts.task,
            datamodule=parts.data,
            mode="power",
            steps_per_trial=STEPS,
            init_val=SMALLEST,
            max_trials=(largest // SMALLEST).bit_length(),
            max_val=2 * largest,
        )
    speeds = speeds_of(starts)
    if not speeds:
        few = parts.data.train_size
        raise InputError(f"find=batch_size: {few} training images are too few to time steps")
    rows = [(one.batch_size, round(one.images_per_s, 1)) for one in speeds]
    outcome.save("batch_sizes", draw(speeds), ("batch_size", "images_per_s"), rows)
    for one in speeds:
        log.info("batch size %5d   %8.0f images/s", one.batch_size, one.images_per_s)
    suggested = suggestion(speeds)
    percent = 100 * (WORTHWHILE - 1)
    outcome.suggest(
        "data.batch_size",
        str(suggested.batch_size),
        f"no larger batch that fits is {percent:.0f} % faster; the best learning rate may change",
    )


def speeds_of(starts: Sequence[tuple[int, float] | None]) -> list[Speed]:
    """Return the speed of each batch size, in their order.

    starts: the size and the start of each training step, and None for each step of an evaluation.
    """
    seconds: dict[int, list[float]] = defaultdict(list)
    for one, following in pairwise(starts):
        if one is not None and following is not None and one[0] & (one[0] - 1) == 0:
            seconds[one[0]].append(following[1] - one[1])
    return [
        Speed(size, size / statistics.median(times[1:] or times))
        for size, times in sorted(seconds.items())
    ]


def suggestion(speeds: Sequence[Speed]) -> Speed:
    """Return the smallest batch size than which no other is clearly faster."""
    fastest = max(one.images_per_s for one in speeds)
    return next(one for one in speeds if one.images_per_s * WORTHWHILE >= fastest)


def draw(speeds: Sequence[Speed]) -> Figure:
    """Draw the speed of each batch size, and the suggested one."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes: Any = figure.subplots()
    chosen = suggestion(speeds)
    axes.plot(*zip(*speeds, strict=True), marker="o")
    axes.axvline(
        chosen.batch_size, color="C3", linestyle="--", label=f"suggested: {chosen.batch_size}"
    )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set(xlabel="batch size", ylabel="images/s in training", ylim=(0, None))
    axes.set_title("speed of training steps")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
