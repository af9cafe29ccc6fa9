"""Compute how much of the variance between configurations is due to each setting.

The method is functional ANOVA of the fitted linear model: over the search space, the variance of
each family's fitted effect, and of each pair's, divided by their sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import f, ncf

from tunebook.analysis.design import Array, Design, fit
from tunebook.analysis.levels import scale
from tunebook.analysis.results import Results, Setting, family

SOURCE = "functional ANOVA of the fitted model"
MIN_UNITS = 10  # configurations
COVERED = 0.95  # of intervals
MAX_NONCENTRAL = 1e5


@dataclass(frozen=True)
class Importance:
    """Hold the share of the explained variance that is due to one setting by itself.

    A family with several members counts as one setting.
    share: 0 to 1. What chance would explain is subtracted.
    low, high: the 95 % interval.
    """

    setting: Setting
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class _Part:
    """Hold the variance of one part of the model over the search space.

    fitted: that of the fitted coefficients.
    f, more, spare: the F statistic of the part, and its degrees of freedom.
    """

    fitted: float
    f: float
    more: int
    spare: int

    @property
    def variance(self) -> float:
        """Return the variance without what noise adds, by positive-part shrinkage (Stein 1981)."""
        return self.fitted * max(0.0, 1 - 2 / self.f) if self.f > 0 else 0.0

    def limits(self) -> tuple[float, float]:
        """Return the 95 % interval of the variance.

        It inverts the noncentral F distribution (Steiger 2004, "Beyond the F test").
        """
        if not self.f > 0:
            return 0.0, 0.0
        unit = self.fitted / (self.f * self.more)
        return tuple(unit * self._noncentrality(1 - side) for side in TAILS)  # type: ignore[return-value]

    def _noncentrality(self, tail: float) -> float:
        """Return the noncentrality for which F exceeds the observed one with this probability."""

        def excess(nc: float) -> float:
            return float(ncf.sf(self.f, self.more, self.spare, nc)) - (1 - tail)

        if float(f.sf(self.f, self.more, self.spare)) >= 1 - tail:
            return 0.0
        if excess(MAX_NONCENTRAL) < 0:
            return MAX_NONCENTRAL
        return float(brentq(excess, 1e-9, MAX_NONCENTRAL))


TAILS = ((1 - COVERED) / 2, (1 + COVERED) / 2)


def importances(results: Results, model: Design | None) -> tuple[Importance, ...]:
    """Return the importance of each family that varies, largest first.

    Empty for fewer than 10 configurations or two families, or if nothing is explained.
    """
    if model is None or len(model.rows) < MIN_UNITS or len(model.families) < 2:
        return ()
    fitted = fit(model.scores, model.matrix())
    if fitted.df_resid < 1 or fitted.ssr <= 1e-12 * float(model.scores @ model.scores):
        return ()
    parts = {
        name: _main(results, model, np.asarray(fitted.params), name) for name in model.families
    }
    pairs = [_pair(model, np.asarray(fitted.params), pair) for pair in model.pairs]
    total = sum(part.variance for part in [*parts.values(), *pairs])
    if not total > 0:
        return ()
    found = [
        _importance(results, name, part, total - part.variance) for name, part in parts.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.share, -parts[family(one.setting.name)].f)))


def _importance(results: Results, name: str, part: _Part, others: float) -> Importance:
    members = [setting for setting in results.settings if family(setting.name) == name]
    setting = members[0] if len(members) == 1 else Setting(name, members[0].is_number, (), 0.0, 1.0)
    shares = [v / (v + others) if v > 0 else 0.0 for v in (part.variance, *part.limits())]
    return Importance(setting, shares[0], min(shares), max(shares))


def _main(results: Results, model: Design, params: Array, name: str) -> _Part:
    """Return the part of a family: the mean over its members of their variances in the space."""
    variances, weights = [], []
    for member in model.families[name]:
        setting = next(one for one in results.settings if one.name == member)
        columns = model.coefficients(member)
        effect = _over_the_space(model, setting, params[columns])
        variances.append(float(np.var(effect)))
        weights.append(sum(member in row for row in model.rows) / len(model.rows))
    fitted = float(np.dot(variances, weights))
    return _tested(model, model.matrix(name), fitted)


def _over_the_space(model: Design, setting: Setting, params: Array) -> Array:
    """Return the fitted effect at evenly spaced positions of a range, or at each value tried."""
    own, having = model.own[setting.name], [setting.name in row for row in model.rows]
    ends = scale(setting, model.rows)
    if ends is None or setting.values:
        different = np.unique(own[having][:, : len(params)], axis=0)
        values: Array = different @ params[: different.shape[1]]
        return values
    places = np.linspace(0, 1, 101)
    powers = np.stack([places ** (power + 1) for power in range(len(params))], axis=1)
    curve: Array = powers @ params
    return curve


def _pair(model: Design, params: Array, pair: tuple[str, str]) -> _Part:
    before = model.matrix().shape[1] - sum(one.shape[1] for one in model.pairs.values())
    for other, columns in model.pairs.items():
        if other == pair:
            break
        before += columns.shape[1]
    own = model.pairs[pair]
    fitted = float(np.var(own @ params[before : before + own.shape[1]]))
    left: Mapping[tuple[str, str], Array] = {
        other: columns for other, columns in model.pairs.items() if other != pair
    }
    return _tested(model, replace(model, pairs=left).matrix(), fitted)


def _tested(model: Design, without: Array, fitted: float) -> _Part:
    """Return the part with the F statistic that compares the model with one without it."""
    full, reduced = fit(model.scores, model.matrix()), fit(model.scores, without)
    more, spare = round(full.df_model - reduced.df_model), round(full.df_resid)
    if more < 1 or spare < 1:
        return _Part(0.0, 0.0, 1, 1)
    return _Part(fitted, float((reduced.ssr - full.ssr) / more / (full.ssr / spare)), more, spare)
