"""Hold the runs to compare as plain values: what varies among them, and their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Value = str | int | float | bool | None
IMAGES = "images"  # the setting by which runs on different images of the user's own differ
# What distinguishes the runs of a configuration: the seed, and the fold of a cross-validation.
# The fold is -1 without a cross-validation.
Repeat = tuple[int, int]
# A list of positive numbers is compared on a logarithmic scale if its ends differ by this factor.
GEOMETRIC = 4.0


@dataclass(frozen=True)
class Setting:
    """Describe one setting that varies, other than the seed.

    values: the list that was tried; empty for a range.
    low, high: the ends of the range, or of a list of numbers.
    log: whether the range is sampled, or the list of numbers compared, on a logarithmic scale.
    """

    name: str  # optimizer.lr, or optimizer.lr (optimizer=adam) if it varies only with adam
    is_number: bool  # otherwise categorical
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False


def setting_of_values(name: str, values: Sequence[Value]) -> Setting:
    """Return the setting with these values.

    It is numeric if all values are numbers, otherwise categorical.
    """
    numbers = [
        value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) < len(values):
        return Setting(name, False, tuple(values))
    low, high = min(numbers), max(numbers)
    return Setting(
        name, True, tuple(sorted(numbers)), low, high, log=low > 0 and high / low >= GEOMETRIC
    )


@dataclass(frozen=True)
class Run:
    """Hold one run.

    values: those of the settings that vary and apply to the run; if none varies, those that define
        the only configuration.
    objective: of the best epoch, or None.
    fold, folds: of a cross-validation: the part that validates, and the number of parts.
    curve: (epoch, objective).
    """

    run_id: str
    name: str
    values: Mapping[str, Value]
    seed: int | None
    state: str  # complete, pruned; failed, diverged, killed, timed out, interrupted, running
    objective: float | None
    curve: tuple[tuple[int, float], ...] = ()
    seconds: float | None = None
    error: str = ""
    fold: int | None = None
    folds: int | None = None

    @property
    def repeat(self) -> Repeat | None:
        """Return what distinguishes this run from others of its configuration, or None."""
        return None if self.seed is None else (self.seed, -1 if self.fold is None else self.fold)


def family(name: str) -> str:
    """Return the key of a setting: `optimizer.lr` of `optimizer.lr (optimizer=adam)`.

    Settings with the same key form a family: each applies with another option.
    """
    return name.partition(" (")[0]


def overlap(runs: Sequence[Run]) -> float:
    """Return the ratio of validation to training images, if these runs are a cross-validation.

    Their training images overlap, so that their results are correlated. An estimate of the variance
    of their mean is sd**2 * (1 / n + this ratio) (Nadeau & Bengio 2003, "Inference for the
    generalization error"). 0 if a run is not part of a cross-validation.
    """
    folds = [run.folds for run in runs if run.folds]
    return 1 / (min(folds) - 1) if folds and len(folds) == len(runs) else 0.0


def repeated_over(runs: Sequence[Run]) -> str:
    """Return what runs of one configuration differ in, as a word: seeds or folds."""
    return "folds" if any(run.folds for run in runs) else "seeds"


@dataclass(frozen=True)
class Results:
    """Hold all runs, and what is known about them together.

    adaptive: whether later runs were chosen by the results of earlier ones, as TPE does.
    classes: the number of classes of the images; None if it is unknown.
    """

    name: str
    objective: str  # the full name of the metric
    direction: Literal["max", "min"]
    settings: tuple[Setting, ...]
    runs: tuple[Run, ...]
    adaptive: bool = False
    classes: int | None = None
