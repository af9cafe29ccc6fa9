"""Hold the runs to compare as plain values: what varies among them, and their results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Value = str | int | float | bool | None
IMAGES = "images"  # the setting by which runs on different images of the user's own differ


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


@dataclass(frozen=True)
class Run:
    """Hold one run.

    values: those of the settings that vary and apply to the run; if none varies, those that define
        the only configuration.
    objective: of the best epoch, or None.
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
