"""Test which pairs of settings have a joint effect beyond the sum of their own effects."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.robust.robust_linear_model import RLM

from tunebook.analysis.design import SPARE, Array, Design, block, fit, normal_scores
from tunebook.analysis.effects import Effect, holm, partial_p
from tunebook.analysis.levels import Level, levels
from tunebook.analysis.results import Setting

MAX_SETTINGS = 4  # the strongest settings, whose pairs are tested
# Stricter than for settings, because an interaction is claimed in addition to their own effects.
INTERACTION_LEVEL = 0.01
MIN_UNITS = 3  # units that a combination needs in order to be named


@dataclass(frozen=True)
class Interaction:
    """Hold two settings that interact, and the combination of their levels that shows it most.

    p: adjusted over pairs (Holm 1979).
    combination: the levels whose runs differ most from the sum of the two settings' own effects.
    excess: the median of that difference, in the objective's unit; positive if the combination
        is better than the sum.
    """

    first: Setting
    second: Setting
    p: float
    combination: tuple[Level, Level]
    excess: float


def interactions(model: Design | None, found: Sequence[Effect]) -> tuple[Interaction, ...]:
    """Return the significant interactions, strongest first.

    The pairs of the four strongest settings are tested, whether or not these matter by themselves.
    A pair is reported only if its products are significant on two scales, the objective's own and
    that of normal scores: an interaction that a change of scale removes is a property of the scale.
    On each scale, the residuals of the main effects are ranked and tested, because ranks of the
    values themselves turn strong main effects into interactions (aligned ranks: Higgins &
    Tashtoush 1994).
    """
    if model is None or np.ptp(model.values) == 0:
        return ()
    left = _left(model)
    strongest = [effect for effect in found if effect.p is not None][:MAX_SETTINGS]
    pairs = list(itertools.combinations(strongest, 2))
    raw = {
        (a.setting.name, b.setting.name): _p(model, left, a.setting, b.setting) for a, b in pairs
    }
    adjusted = holm(raw)
    results: list[Interaction] = []
    for a, b in pairs:
        p = adjusted.get((a.setting.name, b.setting.name))
        strangest = _strangest(model, left, a.setting, b.setting)
        if p is not None and p < INTERACTION_LEVEL and strangest is not None:
            results.append(Interaction(a.setting, b.setting, p, *strangest))
    return tuple(sorted(results, key=lambda interaction: interaction.p))


def _left(model: Design) -> Array:
    """Return the residuals of the objective after the main effects.

    The fit is robust (Huber 1964): runs at chance level would distort a least-squares fit.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels warns if residuals are 0; see below
        left: Array = np.asarray(RLM(model.values, model.matrix()).fit().resid)
    return left if np.isfinite(left).all() else np.asarray(fit(model.values, model.matrix()).resid)


def _p(model: Design, left: Array, first: Setting, second: Setting) -> float | None:
    """Return the larger of the p values on the two scales.

    None if too few runs have both settings, or if the main effects leave no residuals.
    """
    products = _products(model, first, second)
    larger = np.hstack([model.matrix(), products])
    noiseless = np.ptp(left) <= 1e-9 * np.ptp(model.values)
    if (
        noiseless
        or larger.shape[1] > 2 * len(larger)
        or len(larger) - np.linalg.matrix_rank(larger) < SPARE
    ):
        return None
    each = [
        partial_p(scores, model.matrix(), larger) for scores in (normal_scores(left), model.scores)
    ]
    return max((p for p in each if p is not None), default=None)


def _products(model: Design, first: Setting, second: Setting) -> Array:
    """Return the products of the columns of two settings; a number has only its linear column.

    Products with squares would need more runs than there usually are.
    """
    a, b = (block(setting, model.rows, 1) for setting in (first, second))
    products: Array = np.einsum("ij,ik->ijk", a, b).reshape(len(a), -1)
    return products


def _strangest(
    model: Design, left: Array, first: Setting, second: Setting
) -> tuple[tuple[Level, Level], float] | None:
    excess: list[tuple[tuple[Level, Level], float]] = []
    for a, b in itertools.product(levels(first, model.rows), levels(second, model.rows)):
        both = sorted(set(a.members) & set(b.members))
        if len(both) >= MIN_UNITS:
            excess.append(((a, b), float(np.median(left[both]))))
    return max(excess, key=lambda one: abs(one[1]), default=None)
