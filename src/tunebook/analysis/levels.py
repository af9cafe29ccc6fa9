"""Split a setting into levels, and compute the position of a number in its range.

The sentences compare levels: the values of a setting, or the thirds of its range.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunebook.analysis.results import Setting, Value

MAX_LISTED = 6  # listed numbers that are separate levels; more are split into thirds


@dataclass(frozen=True)
class Level:
    """Hold a value of a setting, or a third of its range.

    text: how sentences write it.
    members: the positions of the rows that have it.
    place: its position among the levels, 0 for the lowest.
    low, high: the ends of a third of a range; None for a value.
    """

    text: str
    members: tuple[int, ...]
    place: int
    low: float | None = None
    high: float | None = None


def as_text(value: Value) -> str:
    """Return the value as the command line accepts it, numbers with six digits."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number(value: Value) -> float | None:
    """Return the value as a float if it is a finite number, else None."""
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def scale(
    setting: Setting, rows: Sequence[Mapping[str, Value]]
) -> tuple[float, float, bool] | None:
    """Return the lower end, the upper end, and whether the scale is logarithmic.

    None if the values must be treated as categories: some value is not a number, or all are equal.
    """
    tried = [row[setting.name] for row in rows if setting.name in row]
    numbers = [found for value in tried if (found := number(value)) is not None]
    if not setting.is_number or len(numbers) < len(tried) or not numbers:
        return None
    low, high = min([setting.low, *numbers]), max([setting.high, *numbers])
    if not setting.low < setting.high:
        low, high = min(numbers), max(numbers)
    return (low, high, setting.log and low > 0) if low < high else None


def coordinate(value: float, low: float, high: float, log: bool) -> float:
    """Return the position of a value in its range: 0 at the lower end, 1 at the upper end."""
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def at(place: float, low: float, high: float, log: bool) -> float:
    """Return the value at a position in the range; the inverse of `coordinate`."""
    return low * (high / low) ** place if log else low + place * (high - low)


def is_listed(setting: Setting) -> bool:
    """Return whether each value of the setting is a level."""
    return not setting.is_number or 0 < len(setting.values) <= MAX_LISTED


def levels(setting: Setting, rows: Sequence[Mapping[str, Value]]) -> tuple[Level, ...]:
    """Return every level in order, including those that no row has.

    Such levels are listed values that were not tried, and empty thirds.
    """
    having = [
        (position, row[setting.name]) for position, row in enumerate(rows) if setting.name in row
    ]
    ends = scale(setting, rows)
    if ends is None or is_listed(setting):
        return _listed(setting, having)
    thirds: list[list[int]] = [[], [], []]
    for position, value in having:
        place = coordinate(number(value) or 0.0, *ends)
        thirds[min(2, max(0, int(place * 3)))].append(position)
    bounds = [at(third / 3, *ends) for third in range(4)]
    whole = all(isinstance(value, int) for _, value in having)
    digits = 6 if whole else 2
    texts = [f"{bounds[third]:.{digits}g} to {bounds[third + 1]:.{digits}g}" for third in range(3)]
    return tuple(
        Level(text, tuple(members), place, bounds[place], bounds[place + 1])
        for place, (text, members) in enumerate(zip(texts, thirds, strict=True))
    )


def _listed(setting: Setting, having: Sequence[tuple[int, Value]]) -> tuple[Level, ...]:
    members: dict[str, list[int]] = {as_text(value): [] for value in setting.values}
    for position, value in having:
        members.setdefault(as_text(value), []).append(position)
    if setting.is_number:
        members = dict(sorted(members.items(), key=lambda item: _order(item[0])))
    return tuple(
        Level(text, tuple(found), place) for place, (text, found) in enumerate(members.items())
    )


def _order(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf
