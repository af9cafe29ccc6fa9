"""What was tried too little to say anything of it, and values under which runs fail."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import fisher_exact

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.effects import FEWEST_RUNS, LEVEL, Effect, holm
from tunebook.analysis.levels import Level, is_listed, levels, scale
from tunebook.analysis.results import Results, Setting

FAILED = {"failed", "diverged", "killed", "timed out"}


@dataclass(frozen=True)
class Gap:
    """A setting of which nothing, or nothing of some values, can be said. levels: those, () for the setting as a whole."""

    setting: Setting
    reason: str
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Failing:
    """A value, or third of a range, under which runs fail more often than elsewhere. p: adjusted over all values of all settings."""

    setting: Setting
    level: Level
    failed: int
    of: int
    elsewhere: int
    of_elsewhere: int
    p: float


def gaps(results: Results, compared: Comparable, found: Sequence[Effect]) -> tuple[Gap, ...]:
    """Settings that never varied, values with fewer than 3 runs, thirds without any; then those that no test was possible for."""
    rows = [run.values for run in compared.runs]
    gaps: list[Gap] = []
    for effect in found:
        setting = effect.setting
        tried = {repr(row[setting.name]) for row in rows if setting.name in row}
        least = FEWEST_RUNS if is_listed(setting) or scale(setting, rows) is None else 1
        few = tuple(level for level in levels(setting, rows) if len(level.members) < least)
        if len(tried) < 2:
            gaps.append(Gap(setting, "one value in all runs that can be compared" if tried else "no run that can be compared"))
        elif effect.p is None:
            gaps.append(Gap(setting, "too few runs for so many settings, or varied only together with others"))
        elif few:
            gaps.append(Gap(setting, "fewer than 3 runs" if least == FEWEST_RUNS else "no run", few))
    return tuple(gaps)


def failing(results: Results) -> tuple[Failing, ...]:
    """Fisher's exact test of each value against the rest of its setting, one-sided; the significant ones, by p."""
    ended = [run for run in results.runs if run.state in FAILED | {"complete", "pruned"}]
    bad = [run.state in FAILED for run in ended]
    if not any(bad) or all(bad):
        return ()
    rows = [run.values for run in ended]
    counted: dict[tuple[int, int], Failing] = {}
    for place, setting in enumerate(results.settings):
        of_setting = levels(setting, rows)
        total, all_failed = sum(len(one.members) for one in of_setting), sum(bad[member] for one in of_setting for member in one.members)
        for one in of_setting:
            n, failed = len(one.members), sum(bad[member] for member in one.members)
            if 0 < n < total:
                table = [[failed, n - failed], [all_failed - failed, total - n - all_failed + failed]]
                p = float(fisher_exact(table, alternative="greater").pvalue)
                counted[place, one.place] = Failing(setting, one, failed, n, all_failed - failed, total - n, p)
    adjusted = holm({key: one.p for key, one in counted.items()})
    significant = [
        Failing(one.setting, one.level, one.failed, one.of, one.elsewhere, one.of_elsewhere, adjusted[key])
        for key, one in counted.items()
        if adjusted[key] < LEVEL
    ]
    return tuple(sorted(significant, key=lambda one: one.p))
