"""Compute intervals of the test metrics: how much they would vary with other test images.

They are percentile intervals of the bootstrap (Efron 1979): each resample draws as many test images
as there are, with replacement. They say nothing of other seeds of training.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tunebook.metrics.facts import ACCURACY, LOSS, TEST, full_name
from tunebook.metrics.kept import Metrics, probabilities_of, value_of
from tunebook.randomness import generator

RESAMPLES = 2000
# A further metric is computed anew for each resample, which takes about a millisecond or more.
FURTHER_RESAMPLES = 500
# Probabilities, images x classes, up to which that takes seconds. Above, it has no interval.
MOST_PROBABILITIES = 200_000
BLOCK = 1 << 20  # drawn images that are in memory at once
TAIL = 0.025  # on each side of a 95 % interval
STREAM = 0xB007  # apart from the other random numbers that depend on the seed


class Interval(NamedTuple):
    """Hold the limits of a 95 % interval."""

    low: float
    high: float


def intervals_of_test(
    logits: Tensor, labels: Tensor, metrics: Metrics, seed: int
) -> dict[str, Interval]:
    """Return the interval of each test metric by its full name; equal seeds give equal intervals.

    A metric that is defined for none of the resamples has none.
    logits: (N, num_classes), float32. labels: int64 (N,). metrics: beside loss and accuracy.
    """
    draws = generator(seed, STREAM)
    found = _of_means(
        {
            LOSS: F.cross_entropy(logits.double(), labels, reduction="none"),
            ACCURACY: (logits.argmax(dim=1) == labels).double(),
        },
        draws,
    )
    if metrics and logits.numel() <= MOST_PROBABILITIES:
        found |= _of_metrics(logits, labels, metrics, draws)
    return {full_name(TEST, name): interval for name, interval in found.items() if interval}


def _of_means(values: Mapping[str, Tensor], draws: torch.Generator) -> dict[str, Interval | None]:
    """Return the intervals of the means of values (N,) in double precision."""
    table = torch.stack(list(values.values()), dim=1)
    size = len(table)
    at_once = max(1, BLOCK // size)
    means = torch.cat(
        [
            table[
                torch.randint(size, (min(at_once, RESAMPLES - done), size), generator=draws)
            ].mean(1)
            for done in range(0, RESAMPLES, at_once)
        ]
    )
    return {name: _interval(means[:, place]) for place, name in enumerate(values)}


def _of_metrics(
    logits: Tensor, labels: Tensor, metrics: Metrics, draws: torch.Generator
) -> dict[str, Interval | None]:
    """Return the intervals of metrics of torchmetrics, all from the same resamples."""
    probabilities = probabilities_of(logits)
    found: dict[str, list[Tensor]] = {name: [] for name in metrics}
    for _ in range(FURTHER_RESAMPLES):
        drawn = torch.randint(len(labels), (len(labels),), generator=draws)
        for name, metric in metrics.items():
            found[name].append(value_of(metric, probabilities[drawn], labels[drawn]))
    return {
        name: _interval(torch.stack(values).flatten().double()) for name, values in found.items()
    }


def _interval(values: Tensor) -> Interval | None:
    """Return the interval of a metric's values, without those of resamples where it is undefined.

    None if it is undefined in all of them.
    """
    values = values[torch.isfinite(values)]
    if not len(values):
        return None
    low, high = values.quantile(torch.tensor([TAIL, 1 - TAIL], dtype=values.dtype)).tolist()
    return Interval(low, high)
