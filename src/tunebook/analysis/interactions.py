"""Test which pairs of settings have a joint effect beyond the sum of their own effects."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.design import SPARE, Array, Design, block, fit, normal_scores
from tunebook.analysis.effects import holm, partial_p
from tunebook.analysis.levels import Level, coordinate, levels, number, scale
from tunebook.analysis.results import Results, Setting, Value

INTERACTION_LEVEL = 0.03  # of all pairs together, so that forward selection stays below 5 %
MIN_UNITS = 3  # units that a combination needs in order to be named
MAX_PAIRS = 6  # that are named


@dataclass(frozen=True)
class Interaction:
    """Hold two families that interact, and the combination of levels that shows it most.

    first, second: settings; that of a family with several members has positions in their ranges, 0
        to 1, as its values.
    p: adjusted over pairs (Holm 1979).
    combination: the levels whose runs differ most from the sum of the two settings' own effects.
    excess: the median of that difference, in the objective's unit; positive if the combination
        is better than the sum.
    epoch: the epoch at which runs were compared; None for whole runs.
    """

    first: Setting
    second: Setting
    p: float
    combination: tuple[Level, Level]
    excess: float
    epoch: int | None = None


def interactions(
    results: Results, model: Design | None, level: float = INTERACTION_LEVEL
) -> tuple[Design | None, tuple[Interaction, ...]]:
    """Return the model with the significant pairs, and these pairs, strongest first.

    All pairs of families are tested (Holm 1979). The strongest significant pair becomes part of the
    model, and the remaining pairs are tested again: what a pair explains is no longer noise. Of the
    members of a family, the positions in their ranges are used together. The products are tested on
    the transformed scale, and their residuals' ranks as well (aligned ranks: Higgins & Tashtoush
    1994), so that a few bad runs do not make an interaction. If an adaptive sampler chose the runs,
    some combinations of categories have few of them. Pairs with a category must then be significant
    for the ranks of the objectives as well.

    level: of significance, of all pairs together.
    """
    if model is None or np.ptp(model.values) == 0:
        return model, ()
    groups = _families(results, model)
    products = {
        (a, b): columns
        for a, b in itertools.combinations(groups, 2)
        if (columns := _products(groups[a], groups[b])) is not None
    }
    found: dict[tuple[str, str], float] = {}
    while len(found) < MAX_PAIRS:
        tested = {
            (a, b): _p(model, columns, _scales(results, model, groups[a], groups[b]))
            for (a, b), columns in products.items()
            if (a, b) not in found
        }
        adjusted = holm(tested)
        best = min(adjusted, key=lambda pair: adjusted[pair], default=None)
        if best is None or not adjusted[best] < level:
            break
        found[best] = adjusted[best]
        model = replace(model, pairs={**model.pairs, best: products[best]})
    named = [_named(model, groups[a], groups[b], p) for (a, b), p in found.items()]
    return model, tuple(one for one in named if one is not None)


def of_all_ages(
    results: Results, models: Sequence[tuple[Comparable, Design | None]]
) -> tuple[list[Design | None], tuple[Interaction, ...]]:
    """Return the models with their significant pairs, and these pairs, each once.

    models: the runs at one epoch or at several, with their models. The level is divided by their
    number (Bonferroni); of a pair that is found at several epochs, the smallest p is kept.
    """
    level = INTERACTION_LEVEL / max(1, len(models))
    larger: list[Design | None] = []
    best: dict[tuple[str, str], Interaction] = {}
    for compared, model in models:
        with_pairs, found = interactions(results, model, level)
        larger.append(with_pairs)
        for one in found:
            pair, p = (one.first.name, one.second.name), min(1.0, one.p * len(models))
            if pair not in best or p < best[pair].p:
                best[pair] = replace(one, p=p, epoch=compared.epoch)
    return larger, tuple(sorted(best.values(), key=lambda one: one.p))


@dataclass(frozen=True)
class _Family:
    """Hold a family as one setting with one value for each unit that it applies to."""

    setting: Setting
    rows: tuple[dict[str, Value], ...]
    columns: Array


def _families(results: Results, model: Design) -> dict[str, _Family]:
    """Return the families that vary; a family of numbers has positions in ranges as its values."""
    groups: dict[str, _Family] = {}
    for name, members in model.families.items():
        settings = [setting for setting in results.settings if setting.name in members]
        if len(settings) == 1:
            rows = tuple(dict(row) for row in model.rows)
            groups[name] = _Family(settings[0], rows, block(settings[0], rows, 1))
        elif all(model.is_numeric[member] for member in members):
            rows = tuple(_position(name, settings, model.rows, row) for row in model.rows)
            setting = Setting(name, True, (), 0.0, 1.0)
            columns = np.sum([model.own[member][:, :1] for member in members], axis=0)
            groups[name] = _Family(setting, rows, columns)
    return groups


def _position(
    name: str,
    settings: Sequence[Setting],
    rows: Sequence[Mapping[str, Value]],
    row: Mapping[str, Value],
) -> dict[str, Value]:
    """Return a row in which a family's value is the position in its member's range."""
    for setting in settings:
        ends = scale(setting, rows)
        if setting.name in row and ends is not None:
            return {name: coordinate(number(row[setting.name]) or 0.0, *ends)}
    return {}


def _products(first: _Family, second: _Family) -> Array | None:
    """Return the products of the columns of two families; a number has only its linear column.

    None if no unit has both.
    """
    a, b = first.columns, second.columns
    products: Array = np.einsum("ij,ik->ijk", a, b).reshape(len(a), -1)
    return products if np.any(products) else None


def _scales(results: Results, model: Design, first: _Family, second: _Family) -> tuple[Array, ...]:
    """Return the responses for which the products of two families must be significant."""
    numeric = first.setting.is_number and second.setting.is_number
    left = np.asarray(fit(model.scores, model.matrix()).resid)
    ranks = () if numeric or not results.adaptive else (normal_scores(model.scores),)
    return (model.scores, normal_scores(left), *ranks)


def _p(model: Design, products: Array, scales_: Sequence[Array]) -> float | None:
    """Return the largest p of the products over the responses.

    None if too few runs or no residuals would be left.
    """
    without = model.matrix()
    larger = np.hstack([without, products])
    if larger.shape[1] > 2 * len(larger) or len(larger) - np.linalg.matrix_rank(larger) < SPARE:
        return None
    each = [partial_p(one, without, larger) for one in scales_]
    known = [p for p in each if p is not None]
    return max(known) if len(known) == len(each) else None


def _named(model: Design, first: _Family, second: _Family, p: float) -> Interaction | None:
    """Return the interaction with the combination of levels that shows it most."""
    left = np.asarray(fit(model.scores, replace(model, pairs={}).matrix()).resid)
    middle = float(np.mean(model.scores))
    excess: list[tuple[tuple[Level, Level], float]] = []
    for a, b in itertools.product(
        levels(first.setting, first.rows), levels(second.setting, second.rows)
    ):
        both = sorted(set(a.members) & set(b.members))
        if len(both) >= MIN_UNITS:
            excess.append(((a, b), float(np.median(left[both]))))
    if not excess:
        return None
    combination, most = max(excess, key=lambda one: abs(one[1]))
    difference = model.scale.difference(middle + most / 2, most) * (1 if most > 0 else -1)
    return Interaction(first.setting, second.setting, p, combination, difference)
