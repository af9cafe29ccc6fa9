"""Runs to compare, as plain values: what varies among them, and what came of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Setting:
    """One setting that varies, other than the seed.

    values: the list that was tried, () for a range. low, high: the ends of the range (of the values, where it is a list of numbers);
    log: whether it is drawn evenly on a logarithmic scale (for lists of numbers: whether they are compared on one).
    """

    name: str  # optimizer.lr; optimizer.lr (optimizer=adam) where it varies only there
    is_number: bool  # else categories
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False


@dataclass(frozen=True)
class Run:
    """One run. values: of the settings that vary and apply to it; where none varies, of those that make the only configuration.

    objective: of its best epoch, or None; curve: (epoch, objective).
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
    """All of them. adaptive: whether later runs were chosen by the results of earlier ones (TPE).

    classes: how many classes the images have, None where it is not known.
    """

    name: str
    objective: str  # val/acc
    direction: Literal["max", "min"]
    settings: tuple[Setting, ...]
    runs: tuple[Run, ...]
    adaptive: bool = False
    classes: int | None = None
