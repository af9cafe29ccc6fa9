"""Which settings do together what neither does alone."""

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

MOST_SETTINGS = 4  # the strongest, whose pairs are looked at
INTERACTION_LEVEL = 0.01  # stricter than for settings: that two of them interact is claimed on top of what each does
FEWEST_UNITS = 3  # of a combination that is named


@dataclass(frozen=True)
class Interaction:
    """Two settings. p: adjusted over pairs (Holm 1979). combination: the one that differs most from what each setting does by itself.

    excess: the median of what is left of that combination, in the objective's unit; positive: better than that sum.
    """

    first: Setting
    second: Setting
    p: float
    combination: tuple[Level, Level]
    excess: float


def interactions(model: Design | None, found: Sequence[Effect]) -> tuple[Interaction, ...]:
    """Those that are significant, strongest first: of pairs of the four strongest settings, whether or not these matter by themselves.

    A pair is claimed only where its products add something on both scales: the objective's own and that of normal scores. One that a
    change of scale removes says something of the scale. On each, it is what main effects leave that is ranked and tested, since ranks of
    the values themselves make interactions out of strong main effects (aligned ranks: Higgins & Tashtoush 1994).
    """
    if model is None or np.ptp(model.values) == 0:
        return ()
    left = _left(model)
    strongest = [effect for effect in found if effect.p is not None][:MOST_SETTINGS]
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
    """What main effects leave of the objective. By a robust fit (Huber 1964): runs at chance level would bend one of least squares."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so where residuals are 0; that is looked at below
        left: Array = np.asarray(RLM(model.values, model.matrix()).fit().resid)
    return left if np.isfinite(left).all() else np.asarray(fit(model.values, model.matrix()).resid)


def _p(model: Design, left: Array, first: Setting, second: Setting) -> float | None:
    """The larger of the p on the two scales; None where too few runs have both settings, or none is left over."""
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
    """Numbers by their place alone: their curves' products would need more runs than there are."""
    a, b = (block(setting, model.rows, 1) for setting in (first, second))
    products: Array = np.einsum("ij,ik->ijk", a, b).reshape(len(a), -1)
    return products


def _strangest(
    model: Design, left: Array, first: Setting, second: Setting
) -> tuple[tuple[Level, Level], float] | None:
    excess: list[tuple[tuple[Level, Level], float]] = []
    for a, b in itertools.product(levels(first, model.rows), levels(second, model.rows)):
        both = sorted(set(a.members) & set(b.members))
        if len(both) >= FEWEST_UNITS:
            excess.append(((a, b), float(np.median(left[both]))))
    return max(excess, key=lambda one: abs(one[1]), default=None)
