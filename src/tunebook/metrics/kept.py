"""Compute metrics of torchmetrics from the kept logits of a whole validation or test.

They are exact, because no average over batches is taken, and training steps pay nothing for them.
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from tunebook.config.targets import make
from tunebook.config.validation import SettingError, one_line
from tunebook.metrics.facts import ALWAYS, METRICS, VALIDATION, full_name

Metrics = Mapping[str, Metric]
NAME = re.compile(r"[a-z]\w{0,49}")  # a part of a name in MLflow
MOST = 1_000_000  # the largest number of bins, thresholds, … of a metric


class Predictions:
    """Keep the logits and the labels of an epoch in memory, on the CPU."""

    def __init__(self) -> None:
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def clear(self) -> None:
        """Forget everything, such as the part of an epoch that was interrupted."""
        self._logits, self._labels = [], []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (B, num_classes) and labels int64 (B,)."""
        self._logits.append(logits.detach().float().cpu())
        self._labels.append(labels.cpu())

    @property
    def logits(self) -> Tensor:
        """Return the logits (N, num_classes) of this device, float32, in the order of the data."""
        return torch.cat(self._logits)

    @property
    def labels(self) -> Tensor:
        """Return the labels int64 (N,) of this device, in the order of the data."""
        return torch.cat(self._labels)

    def compute(self, split: str, metrics: Metrics) -> dict[str, Tensor]:
        """Return the metrics of all devices' images together, by their full names."""
        if not metrics:
            return {}
        parts = [(self.logits, self.labels)]
        if torch.distributed.is_initialized():
            parts *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(parts, parts[0])
        probabilities = probabilities_of(torch.cat([logits for logits, _ in parts]))
        labels = torch.cat([labels for _, labels in parts])
        return {
            full_name(split, name): value_of(metric, probabilities, labels)
            for name, metric in metrics.items()
        }


def probabilities_of(logits: Tensor) -> Tensor:
    """Return the probabilities (N, num_classes) of logits, float64.

    In double precision, no probability but those of hopeless classes is rounded to 0.
    """
    return logits.double().softmax(dim=1)


def value_of(metric: Metric, probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return a metric of these images alone."""
    with warnings.catch_warnings():
        # Averages over classes leave out a class of which there is no image.
        warnings.simplefilter("ignore", UserWarning)
        metric.reset()
        metric.update(probabilities, labels)
        value: Tensor = metric.compute()
        metric.reset()
    return value


def make_metrics(settings: Any, num_classes: int) -> dict[str, Metric]:
    """Return the metrics that the settings of `metrics` describe, by their names.

    Raises SettingError for a metric that can't be created, or a name that is not allowed.
    """
    found: dict[str, Metric] = {}
    for name, one in (settings or {}).items():
        where = f"metrics.{name}"
        if name in ALWAYS:
            raise SettingError(where, one, "every run has it; give another metric another name")
        if not NAME.fullmatch(name):
            raise SettingError(where, one, "its name must be lower-case letters, digits and _")
        with torch.device("cpu"):  # whatever device the run's other objects are created on
            found[name] = make(one, "metrics", where=where, num_classes=num_classes)
        found[name].sync_on_compute = False  # `Predictions` gathers what the devices have
    return found


def lower_is_better(metrics: Metrics) -> list[str]:
    """Return the names of metrics whose lowest value is best, of those that `facts` lacks."""
    return [
        name
        for name, metric in metrics.items()
        if name not in METRICS and metric.higher_is_better is False
    ]


def _check_counts(where: str, metric: Metric) -> None:
    """Raise SettingError for a number of bins or the like for which memory would not suffice."""
    for name, value in vars(metric).items():
        if isinstance(value, int) and not name.startswith("_") and value > MOST:
            raise SettingError(f"{where}.{name}", value, f"must be at most {MOST}")


def check_metrics(metrics: Metrics, num_classes: int) -> None:
    """Raise SettingError for a metric that does not give one number for a classification.

    Two images of each class are tried.
    """
    labels = torch.arange(num_classes).repeat(2)
    logits = torch.eye(num_classes)[labels] + torch.linspace(0, 1, num_classes)
    tried = Predictions()
    tried.add(logits, labels)
    for name, metric in metrics.items():
        where, target = f"metrics.{name}", type(metric).__name__
        _check_counts(where, metric)
        try:
            (value,) = tried.compute(VALIDATION, {name: metric}).values()
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            message = f"can't be computed for {num_classes} classes: {one_line(str(error))}"
            raise SettingError(where, target, message) from error
        if not isinstance(value, Tensor) or value.numel() != 1 or not torch.isfinite(value).all():
            raise SettingError(where, target, "must give one finite number for all classes")
