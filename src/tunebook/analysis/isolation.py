"""Find the best configuration for each value of a setting, whatever its other settings are.

The best value that can be achieved, drawn against one setting, is an isolation plot (Godbole et al.
2023, "Deep Learning Tuning Playbook"). A setting may have many values in one study, so that ranges
are divided into bins of equal width on the setting's scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunebook.analysis.levels import at, coordinate, is_listed, levels, number, scale
from tunebook.analysis.results import Setting, Value

BINS = 8  # of a range
PER_BIN = 3  # configurations that a bin has on average; with fewer configurations, bins are wider


@dataclass(frozen=True)
class Best:
    """Hold the best configuration among those with a value, or in a part of a range.

    text: the value, or the ends of the part.
    left, right: the ends of the part on the setting's axis. For listed values, they are the
        position of the value among them.
    members: the positions of the configurations that were given.
    value: the best objective. low, high: its 95 % interval if the configurations are drawn again
        from these (bootstrap).
    """

    text: str
    left: float
    right: float
    members: tuple[int, ...]
    value: float
    low: float
    high: float


def best_by_value(
    setting: Setting,
    rows: Sequence[Mapping[str, Value]],
    values: Sequence[float],
    direction: str,
) -> tuple[Best, ...]:
    """Return the best configuration for each value of a setting, in the order of the values.

    Values and parts of the range that no configuration has are left out, as are configurations to
    which the setting does not apply.
    rows, values: the settings and the objective of each configuration.
    direction: "max" if a higher objective is better, or "min".
    """
    ends = scale(setting, rows)
    if ends is None or is_listed(setting):
        parts = [
            (level.text, float(place), float(place), level.members)
            for place, level in enumerate(level for level in levels(setting, rows) if level.members)
        ]
    else:
        parts = _bins(setting, rows, ends)
    found: list[Best] = []
    for text, left, right, members in parts:
        value, low, high = _best([values[member] for member in members], direction)
        found.append(Best(text, left, right, members, value, low, high))
    return tuple(found)


def _bins(
    setting: Setting, rows: Sequence[Mapping[str, Value]], ends: tuple[float, float, bool]
) -> list[tuple[str, float, float, tuple[int, ...]]]:
    having = [member for member, row in enumerate(rows) if setting.name in row]
    count = max(2, min(BINS, len(having) // PER_BIN))
    members: list[list[int]] = [[] for _ in range(count)]
    for member in having:
        place = coordinate(number(rows[member][setting.name]) or 0.0, *ends)
        members[min(count - 1, max(0, int(place * count)))].append(member)
    bounds = [at(place / count, *ends) for place in range(count + 1)]
    return [
        (f"{left:.2g} to {right:.2g}", left, right, tuple(own))
        for left, right, own in zip(bounds, bounds[1:], members, strict=False)
        if own
    ]


def _best(values: Sequence[float], direction: str) -> tuple[float, float, float]:
    """Return the best of the values, and the 95 % bootstrap interval of the best.

    The distribution of the best of n values drawn with replacement is known exactly: it is at most
    the k-th smallest with the probability (k / n) ** n.
    """
    in_order = np.sort(np.asarray(values, dtype=float))
    if direction == "min":
        in_order = in_order[::-1]
    n = len(in_order)
    cumulative = (np.arange(1, n + 1) / n) ** n
    worse, better = (
        float(in_order[int(np.searchsorted(cumulative, share))]) for share in (0.025, 0.975)
    )
    return float(in_order[-1]), min(worse, better), max(worse, better)
