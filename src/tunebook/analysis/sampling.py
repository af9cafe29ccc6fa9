"""Find what was sampled too little to judge, and values with which runs fail."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import fisher_exact

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.design import only_one_varies
from tunebook.analysis.effects import LEVEL, MIN_RUNS, Effect, holm
from tunebook.analysis.leaderboard import by_configuration, objectives
from tunebook.analysis.learning import chance_level, is_ranked
from tunebook.analysis.levels import Level, is_listed, levels, scale
from tunebook.analysis.results import Results, Run, Setting, family

PERMUTATIONS = 5000
THIRDS = tuple(f"in the {which} third of its range" for which in ("lower", "middle", "upper"))
FAILED = {"failed", "diverged", "killed", "timed out"}


@dataclass(frozen=True)
class Gap:
    """Hold a setting that can't be judged, as a whole or at some of its levels.

    levels: those that can't be judged; empty for the setting as a whole.
    """

    setting: Setting
    reason: str
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Failing:
    """Hold a level of a setting at which runs fail more often than at its other levels.

    failed, of: the number of failed runs and of all runs at this level.
    elsewhere, of_elsewhere: the same at the other levels.
    p: adjusted over all levels of all settings.
    """

    setting: Setting
    level: Level
    failed: int
    of: int
    elsewhere: int
    of_elsewhere: int
    p: float
    learns: bool = True  # False: these runs are complete, but at chance level


def gaps(results: Results, compared: Comparable, found: Sequence[Effect]) -> tuple[Gap, ...]:
    """Return the settings and levels that can't be judged, and why.

    These are settings that never varied, settings that could not be tested, values with fewer than
    3 runs, and thirds of a range without any run.
    """
    rows = [run.values for run in compared.runs]
    gaps: list[Gap] = []
    untested = all(effect.p is None for effect in found)
    units = len(compared.units())
    too_few = "one configuration is too few to test any setting"
    if units != 1:
        too_few = f"{units} different configurations are too few to test any setting"
    for effect in found:
        setting = effect.setting
        tried = {repr(row[setting.name]) for row in rows if setting.name in row}
        least = MIN_RUNS if is_listed(setting) or scale(setting, rows) is None else 1
        few = tuple(level for level in levels(setting, rows) if len(level.members) < least)
        if len(tried) < 2:
            gaps.append(
                Gap(
                    setting,
                    "all comparable runs have the same value"
                    if tried
                    else "no comparable run has a value",
                )
            )
        elif effect.p is None:
            gaps.append(
                Gap(setting, too_few if untested else "it varied only together with other settings")
            )
        elif few:
            gaps.append(Gap(setting, "fewer than 3 runs" if least == MIN_RUNS else "no run", few))
    return tuple(gaps)


def failing(results: Results) -> tuple[Failing, ...]:
    """Return the values with which significantly more runs fail, or do not learn, than with others.

    Values with which runs fail come first; each kind is sorted by p.
    """
    ended = [run for run in results.runs if run.state in FAILED | {"complete", "pruned"}]
    failed = _more_often(results, ended, [run.state in FAILED for run in ended])
    chance = chance_level(results)
    if chance is None:
        return failed
    ranked = [run for run in results.runs if is_ranked(run)]
    at_chance = [chance.holds(objective) for objective in objectives(ranked)]
    found = _more_often(results, ranked, at_chance)
    return (*failed, *(replace(one, learns=False) for one in found))


def _more_often(results: Results, runs: Sequence[Run], bad: Sequence[bool]) -> tuple[Failing, ...]:
    """Return the levels with significantly more bad runs than the other levels of their setting.

    Settings with the same key and a range each, such as the learning rates of several optimizers,
    also count together, by the thirds of their ranges; of the family and its members, the clearest
    is returned for each third.

    The test is Fisher's exact test, one-sided, adjusted over all levels (Holm 1979). If
    configurations repeat, whole configurations are permuted instead: runs of the same settings fail
    together.
    """
    if not any(bad) or all(bad):
        return ()
    rows = [run.values for run in runs]
    groups = by_configuration(rows)
    permute = len(groups) < len(rows) and not only_one_varies(results.settings, rows)
    counted: dict[tuple[int, int], Failing] = {}
    each = [(setting, levels(setting, rows)) for setting in results.settings]
    for place, (setting, its_levels) in enumerate([*each, *_joint_thirds(each)]):
        having = {member for level in its_levels for member in level.members}
        for level in its_levels:
            inside = set(level.members)
            if not 0 < len(inside) < len(having):
                continue
            failed, elsewhere = (sum(bad[m] for m in part) for part in (inside, having - inside))
            n, rest = len(inside), len(having) - len(inside)
            if permute:
                p = _permuted_p([group for group in groups if group[0] in having], inside, bad)
            else:
                table = [[failed, n - failed], [elsewhere, rest - elsewhere]]
                p = float(fisher_exact(table, alternative="greater").pvalue)
            counted[place, level.place] = Failing(setting, level, failed, n, elsewhere, rest, p)
    adjusted = holm({key: one.p for key, one in counted.items()})
    found = [replace(one, p=adjusted[key]) for key, one in counted.items() if adjusted[key] < LEVEL]
    clearest: dict[object, Failing] = {}
    # At equal p, the name of a family sorts before those of its members.
    for one in sorted(found, key=lambda one: (one.p, one.setting.name)):
        name, level = one.setting.name, one.level
        is_third = level.low is not None or level.text in THIRDS
        clearest.setdefault((family(name), level.place) if is_third else (name, level.text), one)
    return tuple(clearest.values())


def _joint_thirds(
    each: Sequence[tuple[Setting, tuple[Level, ...]]],
) -> Iterator[tuple[Setting, tuple[Level, ...]]]:
    """Yield each family of several ranges as one setting, with the thirds of all as its levels.

    The ranges may differ, as what is a high learning rate depends on the optimizer.
    """
    families: dict[str, list[tuple[Level, ...]]] = {}
    for setting, its_levels in each:
        if all(level.low is not None for level in its_levels):
            families.setdefault(family(setting.name), []).append(its_levels)
    for name, members in families.items():
        if len(members) > 1:
            yield (
                Setting(name, True),
                tuple(
                    Level(text, tuple(row for one in members for row in one[place].members), place)
                    for place, text in enumerate(THIRDS)
                ),
            )


def _permuted_p(groups: Sequence[Sequence[int]], inside: set[int], bad: Sequence[bool]) -> float:
    """Return the one-sided p of a permutation test over configurations.

    It is how often randomly drawn configurations have at least the same share of bad runs as those
    of this level.
    """
    counts = np.array([[sum(bad[m] for m in group), len(group)] for group in groups], dtype=float)
    members = np.array([group[0] in inside for group in groups])
    drawn = np.random.default_rng(0).permuted(np.tile(members, (PERMUTATIONS, 1)), axis=1)
    shares = (drawn @ counts[:, 0]) / (drawn @ counts[:, 1])
    share = counts[members, 0].sum() / counts[members, 1].sum()
    return float((1 + np.sum(shares >= share - 1e-12)) / (1 + PERMUTATIONS))
