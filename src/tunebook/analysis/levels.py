"""A setting's values, or the thirds of its range: what sentences compare; and a number's place in its range."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunebook.analysis.results import Setting, Value

MOST_LISTED = 6  # numbers in a list that are told one by one; more are told in thirds


@dataclass(frozen=True)
class Level:
    """A value, or a third of a range. text: in words; members: positions of the rows that have it; place: 0 for the lowest."""

    text: str
    members: tuple[int, ...]
    place: int


def as_text(value: Value) -> str:
    """As the command line takes it, numbers to six digits."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number(value: Value) -> float | None:
    """The value if it is a finite number, else None."""
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def scale(
    setting: Setting, rows: Sequence[Mapping[str, Value]]
) -> tuple[float, float, bool] | None:
    """Lower end, upper end, logarithmic or not. None: to be treated as categories, since some value is no number, or all are one."""
    tried = [row[setting.name] for row in rows if setting.name in row]
    numbers = [found for value in tried if (found := number(value)) is not None]
    if not setting.is_number or len(numbers) < len(tried) or not numbers:
        return None
    low, high = min([setting.low, *numbers]), max([setting.high, *numbers])
    if not setting.low < setting.high:
        low, high = min(numbers), max(numbers)
    return (low, high, setting.log and low > 0) if low < high else None


def coordinate(value: float, low: float, high: float, log: bool) -> float:
    """0 at the lower end, 1 at the upper."""
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def at(place: float, low: float, high: float, log: bool) -> float:
    """The value at a coordinate."""
    return low * (high / low) ** place if log else low + place * (high - low)


def is_listed(setting: Setting) -> bool:
    """Whether each of its values is a level."""
    return not setting.is_number or 0 < len(setting.values) <= MOST_LISTED


def levels(setting: Setting, rows: Sequence[Mapping[str, Value]]) -> tuple[Level, ...]:
    """Every level, in order, also those that no row has: listed values not tried, empty thirds."""
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
        Level(text, tuple(members), place)
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
