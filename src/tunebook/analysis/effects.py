"""Test which settings matter, by how much, and which are best at an end of their range."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from statsmodels.stats.multitest import multipletests

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.design import Array, Design, fit
from tunebook.analysis.levels import Level, coordinate, levels, number, scale
from tunebook.analysis.power import smallest_found
from tunebook.analysis.results import Results, Setting

LEVEL = 0.05  # significance level of every test
MIN_RUNS = 3  # runs that a value needs in order to be judged
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class LevelValue:
    """Hold the number and the median of the runs with a value, or in a third of a range.

    median: in the objective's unit.
    """

    level: Level
    n: int
    median: float


@dataclass(frozen=True)
class Effect:
    """Hold whether and by how much a setting matters.

    p: of the partial F test, adjusted over settings (Holm 1979); None if it can't be tested.
    levels: best first, or in the order of their values if pruning selected the compared runs.
        Levels with fewer than 3 runs are left out if two or more have at least 3.
    smallest: for a setting that does not matter, the effect that would have been detected with a
        power of 80 %, in the objective's unit; None if it is unknown.
    """

    setting: Setting
    p: float | None
    levels: tuple[LevelValue, ...]
    smallest: float | None = None

    @property
    def matters(self) -> bool:
        """Return whether the effect is significant at the level of 5 %."""
        return self.p is not None and self.p < LEVEL

    @property
    def difference(self) -> float:
        """Return the difference between the medians of the best and the worst level.

        It is in the objective's unit, and at least 0.
        """
        medians = [level.median for level in self.levels]
        return max(medians) - min(medians) if medians else 0.0


@dataclass(frozen=True)
class BoundaryOptimum:
    """Hold an end of a range at which the best values lie and the fit still improves.

    upwards: whether it is the upper end.
    p: one-sided, of the slope at the end.
    """

    setting: Setting
    upwards: bool
    end: float
    p: float


def effects(results: Results, compared: Comparable, model: Design | None) -> tuple[Effect, ...]:
    """Return the effect of every setting, ordered by p, with those that can't be tested last."""
    raw = (
        {name: partial_p(model.scores, model.matrix(name), model.matrix()) for name in model.blocks}
        if model
        else {}
    )
    adjusted = holm(raw)
    missed = [name for name, p in adjusted.items() if not p < LEVEL]
    smallest = (
        {name: smallest_found(model, name, LEVEL / len(missed)) for name in missed} if model else {}
    )
    found = [
        Effect(
            setting,
            adjusted.get(setting.name),
            _level_values(results, compared, setting),
            smallest.get(setting.name),
        )
        for setting in results.settings
    ]
    return tuple(
        sorted(
            found,
            key=lambda effect: (
                2.0 if effect.p is None else effect.p,
                raw.get(effect.setting.name) or 0.0,
            ),
        )
    )


def partial_p(values: Array, smaller: Array, larger: Array) -> float | None:
    """Return p of the F test that the additional columns of the larger model explain nothing.

    None if they add nothing to its rank, or leave no degrees of freedom.
    """
    with np.errstate(all="ignore"):
        full, reduced = fit(values, larger), fit(values, smaller)
        if full.df_resid < 1 or full.df_model == reduced.df_model:
            return None
        if full.ssr <= 1e-12 * float(values @ values):  # no noise at all
            return 0.0 if reduced.ssr > 1e-9 * float(values @ values) else 1.0
        p = float(full.compare_f_test(reduced)[1])
    return p if np.isfinite(p) else None


def holm(raw: Mapping[Key, float | None]) -> dict[Key, float]:
    """Return the p values adjusted for multiple tests (Holm 1979), without those that are None.

    The chance of any false positive among them stays below the level.
    """
    known = {key: p for key, p in raw.items() if p is not None}
    if not known:
        return {}
    adjusted = multipletests(list(known.values()), method="holm")[1]
    return {key: float(p) for key, p in zip(known, adjusted, strict=True)}


def _level_values(
    results: Results, compared: Comparable, setting: Setting
) -> tuple[LevelValue, ...]:
    rows = [run.values for run in compared.runs]
    of_all = [level for level in levels(setting, rows) if level.members]
    found = [
        LevelValue(level, len(level.members), compared.median(level.members)) for level in of_all
    ]
    judged = [one for one in found if one.n >= MIN_RUNS]
    kept = judged if len(judged) > 1 else found
    if compared.selected:
        return tuple(kept)
    return tuple(sorted(kept, key=lambda one: one.median, reverse=results.direction == "max"))


def edges(
    model: Design | None, compared: Comparable, found: Sequence[Effect]
) -> tuple[BoundaryOptimum, ...]:
    """Return the ends of ranges at which the best values lie, at most one for each setting.

    Only numeric settings that matter are considered, and only if the outermost level also has
    the best median. There are none if pruning selected the compared runs: what is best early need
    not be best in the end.
    """
    if model is None or compared.selected:
        return ()
    edges = (
        edge(model, effect.setting, upwards)
        for effect in found
        for upwards in (True, False)
        if _is_outermost(effect, upwards)
    )
    return tuple(one for one in edges if one is not None)


def _is_outermost(effect: Effect, upwards: bool) -> bool:
    places = [one.level.place for one in effect.levels]
    return (
        effect.matters
        and len(places) > 1
        and places[0] == (max(places) if upwards else min(places))
    )


def edge(model: Design, setting: Setting, upwards: bool) -> BoundaryOptimum | None:
    """Return the end of the setting's range if the best values lie there, else None.

    The fitted curve must get significantly better towards the end, and so must the values near it.
    """
    ends = scale(setting, model.rows)
    if ends is None or setting.name not in model.blocks:
        return None
    fitted = fit(model.scores, model.matrix())
    columns, before = model.blocks[setting.name], model.base.shape[1]
    for name, other in model.blocks.items():
        if name == setting.name:
            break
        before += other.shape[1]
    outward = 1.0 if upwards else -1.0
    contrast = np.zeros(len(fitted.params))
    contrast[before] = outward
    if columns.shape[1] > 1:
        contrast[before + 1] = 2.0 * outward * float(upwards)
    with np.errstate(all="ignore"):
        test = fitted.t_test(contrast)
        slope, p = float(np.squeeze(test.effect)), float(np.squeeze(test.pvalue)) / 2
    own = fitted.resid + columns @ fitted.params[before : before + columns.shape[1]]
    if slope <= 0 or not p < LEVEL or not _best_at_the_end(model, setting, own, upwards):
        return None
    return BoundaryOptimum(setting, upwards, ends[1] if upwards else ends[0], p)


def _best_at_the_end(model: Design, setting: Setting, own: Array, upwards: bool) -> bool:
    """Return whether the outermost level is the best, without the effects of other settings.

    If that level is a third of the range, its values must also improve outwards. Otherwise, a peak
    within that third, which a parabola can't fit, would be mistaken for an end.
    """
    found = [level for level in levels(setting, model.rows) if level.members]
    outermost = max(found, key=lambda level: level.place if upwards else -level.place)
    means = {level.place: float(np.mean(own[list(level.members)])) for level in found}
    ends = scale(setting, model.rows)
    if means[outermost.place] < max(means.values()) or ends is None:
        return False
    members = list(outermost.members)
    places = np.array(
        [coordinate(number(model.rows[member][setting.name]) or 0.0, *ends) for member in members]
    )
    if len(members) < 3 or np.ptp(places) == 0:
        return True
    slope = float(np.polyfit(places, own[members], 1)[0])
    return slope > 0 if upwards else slope < 0
