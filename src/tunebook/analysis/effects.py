"""Test which settings matter, by how much, and which are best at an end of their range."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from statsmodels.regression.linear_model import RegressionResultsWrapper
from statsmodels.stats.multitest import multipletests

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.design import Array, Design, fit
from tunebook.analysis.levels import Level, coordinate, is_listed, levels, number, scale
from tunebook.analysis.power import smallest_found
from tunebook.analysis.results import Results, Setting, family

LEVEL = 0.05  # significance level of every test
MIN_RUNS = 3  # runs that a value needs in order to be judged
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class LevelValue:
    """Hold the number of runs with a value, or in a third of a range, and their objective.

    median: what runs at this level typically reach, in the objective's unit. It is what the model
        gives after the effects of the other settings are removed, or the median without a model.
    """

    level: Level
    n: int
    median: float


@dataclass(frozen=True)
class Effect:
    """Hold whether and by how much a setting matters.

    p: of the partial F test, adjusted over families (Holm 1979); None if it can't be tested.
    levels: best first, or in the order of their values if pruning selected the compared runs.
        Levels with fewer than 3 runs are left out if two or more have at least 3.
    epoch: the epoch at which runs were compared; None for whole runs.
    smallest: for a setting that does not matter, the effect that would have been detected with a
        power of 80 %, in the objective's unit; None if it is unknown.
    """

    setting: Setting
    p: float | None
    levels: tuple[LevelValue, ...]
    smallest: float | None = None
    epoch: int | None = None

    @property
    def family(self) -> str:
        """Return the setting's key."""
        return family(self.setting.name)

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
class Joint:
    """Hold whether the settings of a family matter, tested together.

    p: of the partial F test of all their columns, adjusted over families (Holm 1979).
    """

    name: str
    p: float
    settings: tuple[Setting, ...]

    @property
    def matters(self) -> bool:
        """Return whether the effect is significant at the level of 5 %."""
        return self.p < LEVEL


@dataclass(frozen=True)
class Effects:
    """Hold the effects of all settings, and those of the families with several members."""

    settings: tuple[Effect, ...]
    joint: tuple[Joint, ...] = ()


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


def effects(results: Results, models: Sequence[tuple[Comparable, Design | None]]) -> Effects:
    """Return the effects of all settings, ordered by p, with those that can't be tested last.

    Families are tested first, adjusted over families (Holm 1979). The p of a member is adjusted
    over its family, and at least that of the family: a member matters only if its family does.
    models: the runs at one epoch or at several, and their models. With several, each family is
    tested in each of them, and its smallest p is multiplied by their number (Bonferroni).
    """
    known = [(place, model) for place, (_, model) in enumerate(models) if model is not None]
    of_families: dict[str, tuple[float, int]] = {}
    for place, model in known:
        for name in model.families:
            p = partial_p(model.scores, model.matrix(name), model.matrix())
            if p is not None and p * len(known) < of_families.get(name, (2.0, 0))[0]:
                of_families[name] = (min(1.0, p * len(known)), place)
    adjusted = holm({name: p for name, (p, _) in of_families.items()})
    found: list[Effect] = []
    for setting in results.settings:
        p, place = of_families.get(family(setting.name), (None, 0))
        compared, of_epoch = models[place]
        found.append(_effect(results, compared, of_epoch, setting, adjusted))
    joint = tuple(
        Joint(name, adjusted[name], tuple(s for s in results.settings if family(s.name) == name))
        for name in sorted(adjusted, key=lambda name: adjusted[name])
        if sum(family(setting.name) == name for setting in results.settings) > 1
    )
    raw = {name: p for name, (p, _) in of_families.items()}
    found.sort(key=lambda one: (2.0 if one.p is None else one.p, raw.get(one.family, 0.0)))
    return Effects(tuple(found), joint)


def _effect(
    results: Results,
    compared: Comparable,
    model: Design | None,
    setting: Setting,
    adjusted: Mapping[str, float],
) -> Effect:
    """Return the effect of one setting, given the adjusted p values of the families."""
    p = adjusted.get(family(setting.name))
    if model is not None and p is not None and len(model.families[family(setting.name)]) > 1:
        p = _of_member(model, setting.name, p)
    if model is not None and setting.name not in model.own:
        p = None
    smallest = None
    if model is not None and p is not None and not p < LEVEL:
        missed = sum(not other < LEVEL for other in adjusted.values())
        smallest = smallest_found(model, setting.name, LEVEL / max(1, missed))
    found = level_values(results, compared, model, setting)
    return Effect(setting, p, found, smallest, compared.epoch)


def _of_member(model: Design, name: str, of_family: float) -> float | None:
    """Return the p of a member of a family, adjusted over its family."""
    raw = {}
    for member in model.families[family(name)]:
        own, others = model.apart(member)
        raw[member] = partial_p(model.scores, others, np.hstack([others, own]))
    p = holm(raw).get(name)
    return None if p is None else max(p, of_family)


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


def level_values(
    results: Results, compared: Comparable, model: Design | None, setting: Setting
) -> tuple[LevelValue, ...]:
    """Return the levels of a setting with what runs typically reach there."""
    rows = [run.values for run in compared.runs]
    typical = typical_values(model, setting) if model else {}
    found = [
        LevelValue(
            level,
            len(level.members),
            typical.get(level.place, compared.median(level.members)),
        )
        for level in levels(setting, rows)
        if level.members
    ]
    judged = [one for one in found if one.n >= MIN_RUNS]
    kept = judged if len(judged) > 1 else found
    if compared.selected:
        return tuple(kept)
    return tuple(sorted(kept, key=lambda one: one.median, reverse=results.direction == "max"))


def typical_values(model: Design, setting: Setting) -> dict[int, float]:
    """Return the place of each level -> the objective after the effects of others are removed.

    For a range, it is that of the fitted curve in the third; a curve with a peak in a third has its
    highest values there even if few runs are. Otherwise it is the mean over the units.
    """
    if setting.name not in model.own:
        return {}
    fitted = fit(model.scores, model.matrix())
    own = component(model, fitted, setting.name)
    curve = not is_listed(setting) and scale(setting, model.rows) is not None
    shown = own if curve else own + fitted.resid
    middle = float(np.mean(model.scores))
    return {
        level.place: model.scale.back(middle + float(np.mean(shown[list(level.members)])))
        for level in levels(setting, model.rows)
        if level.members
    }


def component(model: Design, fitted: RegressionResultsWrapper, name: str) -> Array:
    """Return the fitted effect of one setting in each unit, on the transformed scale."""
    places = model.coefficients(name)
    columns = model.own[name][:, : len(places)]
    effect: Array = columns @ np.asarray(fitted.params)[places][: columns.shape[1]]
    return effect


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
    if ends is None or setting.name not in model.own:
        return None
    if len(model.coefficients(setting.name)) < 2 and not is_listed(setting):
        return None  # a straight line always has its best value at an end
    fitted = fit(model.scores, model.matrix())
    places = model.coefficients(setting.name)
    outward = 1.0 if upwards else -1.0
    contrast = np.zeros(len(fitted.params))
    contrast[places[0]] = outward
    if len(places) > 1:
        contrast[places[1]] = 2.0 * outward * float(upwards)
    with np.errstate(all="ignore"):
        test = fitted.t_test(contrast)
        slope, p = float(np.squeeze(test.effect)), float(np.squeeze(test.pvalue)) / 2
    own = fitted.resid + component(model, fitted, setting.name)
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
