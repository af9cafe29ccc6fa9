"""State what is known of each metric: its title, direction, format, limits and chance level.

A metric's full name in MLflow begins with the data that it was computed on: `train/acc`, `val/acc`,
`test/acc`. Its value in the best epoch is `best/val_acc`. The functions here take full names.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["max", "min"]

TRAIN, VALIDATION, TEST = "train", "val", "test"
ACCURACY, LOSS = "acc", "loss"
ALWAYS = (ACCURACY, LOSS)  # computed in every run, also while it trains


@dataclass(frozen=True)
class Metric:
    """Hold what is known of a metric.

    title: its name in a sentence or at an axis.
    direction: "max" if a higher value is better, else "min".
    in_percent: whether it is a fraction that is shown in percent.
    low, high: the limits of its values; None for no limit.
    chance: a function from the number of classes to the value that guessing gives, where that is
    known.
    """

    title: str
    direction: Direction = "max"
    in_percent: bool = False
    low: float | None = None
    high: float | None = None
    chance: Callable[[int], float] | None = None

    @property
    def factor(self) -> float:
        """Return the factor from a value to the number that is shown: 100 for percent, else 1."""
        return 100.0 if self.in_percent else 1.0


def _fraction(
    title: str, chance: Callable[[int], float] | None = None, direction: Direction = "max"
) -> Metric:
    return Metric(title, direction, in_percent=True, low=0.0, high=1.0, chance=chance)


# The keys are the names of metrics in MLflow and, except for the first two, in conf/metrics/.
METRICS: Mapping[str, Metric] = {
    ACCURACY: _fraction("accuracy", chance=lambda classes: 1 / classes),
    # The mean cross-entropy in nats. In training it is the loss of conf/loss/ instead.
    LOSS: Metric("cross-entropy", "min", low=0.0, chance=math.log),
    "top_3_acc": _fraction("top-3 accuracy", chance=lambda classes: min(1.0, 3 / classes)),
    "top_5_acc": _fraction("top-5 accuracy", chance=lambda classes: min(1.0, 5 / classes)),
    "balanced_acc": _fraction("balanced accuracy", chance=lambda classes: 1 / classes),
    "macro_f1": _fraction("macro F1", chance=lambda classes: 1 / classes),
    "auroc": Metric("AUROC", low=0.0, high=1.0, chance=lambda classes: 0.5),
    "ece": _fraction("calibration error", direction="min"),
}
UNKNOWN = Metric("")  # such as a metric of a user's own
# A run's tag with the names of metrics that this table lacks and whose lowest value is best.
LOWER_TAG = "metrics.lower_is_better"
TIMES = "time/"
TIME = Metric("", "min", low=0.0)


def full_name(split: str, metric: str) -> str:
    """Return a metric's name in MLflow: `val/acc` of "val" and "acc"."""
    return f"{split}/{metric}"


def split_of(name: str) -> str:
    """Return what data a metric was computed on: "val" of `val/acc`."""
    return name.partition("/")[0]


def best_name(name: str) -> str:
    """Return the name of a metric's value in the best epoch: `best/val_acc` of `val/acc`."""
    return f"best/{name.replace('/', '_')}"


def short_name(name: str) -> str:
    """Return a metric's name without the data that it was computed on: `acc` of `val/acc`."""
    return name.rpartition("/")[2].removeprefix(f"{VALIDATION}_")


def facts_of(name: str) -> Metric:
    """Return what is known of the metric with this full or short name, which may be any text."""
    if name.startswith(TIMES):
        return TIME
    return METRICS.get(short_name(name), UNKNOWN)


def title_of(name: str) -> str:
    """Return a metric's full name in words: "validation accuracy" of `val/acc`."""
    split = {TRAIN: "training", VALIDATION: "validation"}.get(split_of(name), split_of(name))
    return f"{split} {facts_of(name).title or short_name(name)}"


def value_text(name: str, value: float) -> str:
    """Return a metric's value as a run's summary shows it: `97.22%`, or with four digits."""
    return f"{value:.2%}" if facts_of(name).in_percent else f"{value:.4f}"


# The metrics by which runs are judged where nothing else was asked for.
VALIDATED, TESTED = full_name(VALIDATION, ACCURACY), full_name(TEST, ACCURACY)


def tested_name(objective: str) -> str:
    """Return the test metric by which runs that were selected by `objective` are reported.

    It is the same metric, but accuracy for a loss, which is hard to read, and for what is no metric
    of validation.
    """
    metric = short_name(objective)
    is_same = split_of(objective) == VALIDATION and metric != LOSS
    return full_name(TEST, metric) if is_same else TESTED
