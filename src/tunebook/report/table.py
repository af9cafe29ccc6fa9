"""Turn the leaderboard into cells of text, with a column for each setting that varies."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tunebook.analysis.findings import Findings
from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.results import Value
from tunebook.analysis.sentences import configuration_value, value_text
from tunebook.metrics.facts import facts_of
from tunebook.report.read import ComparedRuns
from tunebook.text_output import clipped, printable


@dataclass(frozen=True)
class Column:
    """Hold a column of the leaderboard.

    cells: one for each ranked configuration, best first; "" for what is unknown or does not apply.
    rank: columns of a higher rank are the first to be left out if there is too little space.
    is_setting: whether it shows a setting; otherwise, it shows a figure.
    """

    header: str
    cells: tuple[str, ...]
    rank: int
    is_setting: bool = False

    @property
    def is_numeric(self) -> bool:
        """Return whether every cell that is not empty is a figure or a number."""
        return not self.is_setting or all(map(_is_number, filter(None, self.cells)))


def columns(study: ComparedRuns, findings: Findings) -> tuple[Column, ...]:
    """Return the columns of the ranked configurations: their figures, then their settings.

    The setting that matters most comes first. Columns of figures in which every cell would be empty
    are left out. All text is printable.
    """
    ranked = [configuration for configuration in findings.leaderboard if configuration.n]
    figures = [Column(header, cells, 0) for header, cells in _figures(study, ranked)]
    keys = _keys(ranked, [effect.setting.name for effect in findings.effects])
    short = short_headers(list(keys))
    settings = [
        Column(
            clipped(short[key]),
            tuple(_cell(one.values, names) for one in ranked),
            rank + 1,
            is_setting=True,
        )
        for rank, (key, names) in enumerate(keys.items())
    ]
    return (*figures, *settings)


def _figures(
    study: ComparedRuns, ranked: Sequence[Configuration]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the header and the cells of each figure that at least one configuration has."""
    objective = study.results.objective
    factor = facts_of(objective).factor

    def spread(value: float) -> str:
        if math.isnan(value):
            return ""
        return f"{factor * value:.2f}" if factor > 1 else f"{value:.3g}"

    texts: list[tuple[str, Callable[[Configuration], str]]] = [
        ("n", lambda one: str(one.n)),
        (f"{printable(objective)}, median", lambda one: value_text(objective, one.median)),
        ("sd", lambda one: spread(one.sd)),
        ("95 % +-", lambda one: spread(one.half_width)),
        (f"{printable(study.tested_metric)}, median", lambda one: _tested_text(study, one)),
        ("time", lambda one: "" if math.isnan(one.seconds) else duration(one.seconds)),
        (
            "did not learn",
            lambda one: f"{one.at_chance} of {one.n}" if one.at_chance else "",
        ),
    ]
    found = [(header, tuple(map(text, ranked))) for header, text in texts]
    return [(header, cells) for header, cells in found if any(cells)]


def _keys(ranked: Sequence[Configuration], first: Sequence[str]) -> dict[str, list[str]]:
    """Return key -> the settings with this key, in the order of `first`.

    Settings of the same key that depend on different options share a column: at most one of them
    applies to a configuration.
    """
    keys: dict[str, list[str]] = {}
    given = dict.fromkeys(name for one in ranked for name in one.values)
    for name in (*(name for name in first if name in given), *given):
        names = keys.setdefault(name.partition(" (")[0], [])
        if name not in names:
            names.append(name)
    return keys


def short_headers(keys: Sequence[str]) -> dict[str, str]:
    """Return key -> the shortest end of it that no other key has: `lr`, or else `optimizer.lr`."""
    found: dict[str, str] = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
        found[key] = next(
            (end for end in ends if sum(_ends_with(other, end) for other in keys) == 1), key
        )
    return found


def _ends_with(key: str, end: str) -> bool:
    return key == end or key.endswith(f".{end}")


def _cell(values: Mapping[str, Value], names: Sequence[str]) -> str:
    for name in names:
        if name in values:
            return clipped(configuration_value(values[name]))
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def tested(study: ComparedRuns, one: Configuration) -> float | None:
    """Return the median of the test metric over the runs that learned and were tested, or None.

    None, too, if the objective is a test metric itself.
    """
    if study.results.objective.startswith("test/"):
        return None
    known = one.figures(study.tested)
    return statistics.median(known) if known else None


def _tested_text(study: ComparedRuns, one: Configuration) -> str:
    """Return the test metric, for a single run with its interval over test images."""
    found = tested(study, one)
    if found is None:
        return ""
    text = value_text(study.tested_metric, found)
    limits = study.intervals.get(one.learned[0].run_id) if len(one.learned) == 1 else None
    if limits is None:
        return text
    low, high = (value_text(study.tested_metric, limit) for limit in limits)
    return f"{text} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def duration(seconds: float) -> str:
    """Return a duration in the unit that fits: seconds, minutes or hours."""
    return (
        f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.1f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
