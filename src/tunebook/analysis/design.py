"""Describe runs as a linear model: transformed objectives, and columns for each setting.

Settings with the same key, such as the learning rates of several optimizers, form a family, which
is tested as a whole before its members.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from statsmodels.regression.linear_model import OLS, RegressionResultsWrapper

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.levels import as_text, coordinate, number, scale
from tunebook.analysis.response import Scale, scales
from tunebook.analysis.results import Results, Run, Setting, Value, family, overlap

Array = NDArray[np.float64]
Rows = Sequence[Mapping[str, Value]]
PLENTY = 40  # residual degrees of freedom with which each member of a family has its own curve
COMFORTABLE = 10  # with fewer, straight lines that leave as many are preferred to curves
SPARE = 4  # with fewer, no model is preferred
LEAST = 3  # with fewer, configurations are not tested at all
NOT_THERE = object()


@dataclass(frozen=True)
class Design:
    """Hold a linear model, with a row for each unit and columns for each family of settings.

    rows: the settings of each unit.
    values: the objectives.
    scale: the transformation of the objectives.
    scores: the transformed objectives.
    base: the columns that belong to no setting.
    own: setting -> its columns. These are powers of its position in its range, if it is numeric, or
        else one column for each category except the first.
    is_numeric: setting -> whether it has powers.
    shared: the families whose members share the column of squares, for lack of runs.
    pairs: the pairs of families that interact, with the products of their columns.
    """

    rows: tuple[Mapping[str, Value], ...]
    values: Array
    scale: Scale
    scores: Array
    base: Array
    own: Mapping[str, Array]
    is_numeric: Mapping[str, bool]
    shared: frozenset[str] = frozenset()
    pairs: Mapping[tuple[str, str], Array] = field(default_factory=dict)

    @property
    def families(self) -> dict[str, list[str]]:
        """Return family -> its members that vary."""
        found: dict[str, list[str]] = {}
        for name in self.own:
            found.setdefault(family(name), []).append(name)
        return found

    def block(self, name: str) -> Array:
        """Return the columns of a family: those of its members, then the shared squares."""
        own = [self.own[member] for member in self.families[name]]
        if name not in self.shared:
            return np.hstack(own)
        squares = [columns[:, 1:2] for columns in own if columns.shape[1] > 1]
        return np.hstack([*(columns[:, :1] for columns in own), np.sum(squares, axis=0)])

    def matrix(self, without: str | None = None) -> Array:
        """Return the model's columns, or those of the model without one family."""
        blocks = [self.block(name) for name in self.families if name != without]
        return np.hstack([self.base, *blocks, *self.pairs.values()])

    def apart(self, name: str) -> tuple[Array, Array]:
        """Return the columns of one setting, and those of a model without it."""
        group = family(name)
        left = {other: columns for other, columns in self.own.items() if other != name}
        few = group in self.shared and len(self.families[group]) < 3
        without = replace(self, own=left, shared=self.shared - {group} if few else self.shared)
        return self.own[name], without.matrix()

    def coefficients(self, name: str) -> list[int]:
        """Return the columns of the matrix that are powers of this setting's position."""
        before = self.base.shape[1]
        for group, members in self.families.items():
            if group != family(name):
                before += self.block(group).shape[1]
                continue
            if group in self.shared:
                return [before + members.index(name), before + len(members)]
            widths = [self.own[member].shape[1] for member in members[: members.index(name)]]
            first = before + sum(widths)
            return list(range(first, first + self.own[name].shape[1]))
        raise KeyError(name)


# Degrees of freedom that must be left, degree in numbers, whether families share their squares.
FORMS = (
    (PLENTY, 2, False),
    (COMFORTABLE, 2, True),
    (COMFORTABLE, 1, False),
    (SPARE, 2, True),
    (SPARE, 1, False),
    (LEAST, 2, True),
    (LEAST, 1, False),
)


def fit(values: Array, columns: Array) -> RegressionResultsWrapper:
    """Return the least-squares fit.

    Linearly dependent columns are not an error: what they explain is not divided among them, and
    their rank is used in place of their number.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*rank-deficient.*")
        return OLS(values, columns).fit()


def normal_scores(values: Array) -> Array:
    """Return the ranks of the values as quantiles of the normal distribution.

    Equal values get their mean rank.
    """
    scores: Array = norm.ppf((rankdata(values) - 0.375) / (len(values) + 0.25))
    return scores


def design(results: Results, compared: Comparable) -> Design | None:
    """Return a model that leaves enough degrees of freedom, or None.

    It is quadratic in numeric settings if possible, otherwise linear. Its units are configurations
    (means over seeds, on the transformed scale): the error of a model for a configuration is the
    same with all seeds, so that counting each seed as evidence would make noise significant. Its
    units are runs only if a single setting varies: a configuration is then just a value of that
    setting, and a model of the values has no such error. Runs of a cross-validation are never
    units, since they are correlated. Runs that did not learn do not count: see `not_learning`.

    Of the objective's own scale and the logarithm of the error, the one with the higher likelihood
    is used (Box & Cox 1964).
    """
    designs = [
        found
        for one in scales(results, compared.values)
        if (found := _on_scale(results, compared, one)) is not None
    ]
    return max(designs, key=_log_likelihood, default=None)


def _log_likelihood(model: Design) -> float:
    n = len(model.values)
    left = float(np.sum(fit(model.scores, model.matrix()).resid ** 2))
    return -n / 2 * math.log(max(left / n, 1e-30)) + model.scale.log_jacobian(model.values)


def _on_scale(results: Results, compared: Comparable, scale_: Scale) -> Design | None:
    """Return the model of the objectives on this scale, or None."""
    units = [unit for unit in compared.units() if unit.learned] or compared.units()
    rows = [unit.row for unit in units]
    scores = np.array([float(np.mean(scale_.forward(unit.values))) for unit in units])
    values = np.array([unit.value for unit in units])
    for enough, degree, shared in FORMS:
        found = _design(
            results.settings, rows, values, scores, scale_, np.ones((len(rows), 1)), degree, shared
        )
        if found is not None and _spare(found) >= enough:
            return found
    if overlap(results.runs) or not only_one_varies(results.settings, rows):
        return None
    return _of_runs(results, compared, scale_)


def only_one_varies(settings: Sequence[Setting], rows: Rows) -> bool:
    """Return whether these rows differ in exactly one setting, which all of them have."""
    varying = [
        setting.name
        for setting in settings
        if len({repr(row.get(setting.name, NOT_THERE)) for row in rows}) > 1
    ]
    return len(varying) == 1 and all(varying[0] in row for row in rows)


def _of_runs(results: Results, compared: Comparable, scale_: Scale) -> Design | None:
    """Return a model whose units are the runs that learned, or None.

    It has columns for the seeds and folds if there are enough runs to separate their effects.
    """
    kept = compared.learned(range(len(compared.runs)))
    runs = [compared.runs[member] for member in kept]
    rows = [run.values for run in runs]
    values = np.array([compared.values[member] for member in kept])
    scores = scale_.forward(values)
    for base in (_seed_columns(runs), np.ones((len(rows), 1))):
        for degree in (2, 1):
            found = _design(results.settings, rows, values, scores, scale_, base, degree, False)
            if found is not None and _spare(found) >= SPARE:
                return found
    return None


def _design(
    settings: Sequence[Setting],
    rows: Rows,
    values: Array,
    scores: Array,
    scale_: Scale,
    base: Array,
    degree: int,
    shared: bool,
) -> Design | None:
    """Return the model with these columns, or None if it has far more columns than rows."""
    columns = {setting.name: block(setting, rows, degree) for setting in settings}
    own = {name: found for name, found in columns.items() if found.shape[1]}
    if not own or not len(values) or np.ptp(scores) == 0:
        return None
    numeric = {setting.name: scale(setting, rows) is not None for setting in settings}
    found = Design(tuple(rows), values, scale_, scores, base, own, numeric)
    if shared:
        found = replace(found, shared=frozenset(_sharing(found)))
    return found if found.matrix().shape[1] <= 2 * len(rows) else None


def _sharing(model: Design) -> Iterator[str]:
    """Yield the families of several numbers that all have squares."""
    for name, members in model.families.items():
        squared = (model.is_numeric[one] and model.own[one].shape[1] > 1 for one in members)
        if len(members) > 1 and all(squared):
            yield name


def _spare(found: Design) -> int:
    return len(found.rows) - int(np.linalg.matrix_rank(found.matrix()))


def _seed_columns(runs: Sequence[Run]) -> Array:
    """Return a constant column and one column for each seed, or seed and fold, but the first.

    There is only the constant column if some run has no seed, or some seed has a single run.
    Effects of seeds that have columns do not count as noise.
    """
    seeds = [run.repeat for run in runs]
    different = sorted({seed for seed in seeds if seed is not None})
    ones = np.ones((len(seeds), 1))
    if (
        None in seeds
        or len(different) < 2
        or min(seeds.count(seed) for seed in different) < 2
        or 2 * len(different) > len(seeds)
    ):
        return ones
    return np.hstack(
        [ones, np.array([[float(seed == other) for other in different[1:]] for seed in seeds])]
    )


def block(setting: Setting, rows: Rows, degree: int) -> Array:
    """Return the columns of a setting; none if it does not vary.

    Each column has mean 0 over the rows that the setting applies to, and is 0 in the others. A
    number has a column for its position in its range (0 to 1) and, with degree 2, one for its
    square. Each category except the first has a column.
    """
    applies = np.array([setting.name in row for row in rows], dtype=bool)
    tried = [row[setting.name] for row in rows if setting.name in row]
    if len(set(map(repr, tried))) < 2:
        return np.zeros((len(rows), 0))
    ends = scale(setting, rows)
    if ends is not None:
        places = np.array([coordinate(number(value) or 0.0, *ends) for value in tried])
        raw = np.stack(
            [places**power for power in range(1, min(degree, len(set(places)) - 1) + 1)], axis=1
        )
    else:
        texts = [as_text(value) for value in tried]
        raw = np.array(
            [[float(text == level) for level in sorted(set(texts))[1:]] for text in texts]
        )
    columns = np.zeros((len(rows), raw.shape[1]))
    columns[applies] = raw - raw.mean(axis=0)
    return columns
