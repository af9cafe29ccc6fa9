"""Describe runs as a linear model: normal scores of their values, and columns for each setting.

Normal scores (Blom 1958) depend only on ranks, so that the very low values of a few runs at chance
level do not dominate.
"""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from statsmodels.regression.linear_model import OLS, RegressionResultsWrapper

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.levels import as_text, coordinate, number, scale
from tunebook.analysis.results import Results, Run, Setting, Value, overlap

Array = NDArray[np.float64]
Rows = Sequence[Mapping[str, Value]]
SPARE = 4  # residual degrees of freedom that a model of runs must leave for the noise
COMFORTABLE = 10  # if curves leave fewer, straight lines that leave as many are preferred
LEAST = 3  # if a model leaves fewer, configurations are not tested at all
NOT_THERE = object()


@dataclass(frozen=True)
class Design:
    """Hold a linear model, with a row for each unit and columns for each setting.

    rows: the settings of each unit.
    values: the objectives, negated if lower is better.
    scores: their normal scores.
    base: the columns that belong to no setting.
    blocks: setting -> its columns.
    is_numeric: setting -> whether its columns are powers of its position in its range; otherwise,
        there is one column for each category except the first.
    """

    rows: tuple[Mapping[str, Value], ...]
    values: Array
    scores: Array
    base: Array
    blocks: Mapping[str, Array]
    is_numeric: Mapping[str, bool]

    def matrix(self, without: str | None = None) -> Array:
        """Return the model's columns, or those of the model without one setting."""
        return np.hstack(
            [self.base, *(block for name, block in self.blocks.items() if name != without)]
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
    """Return the largest model that leaves enough degrees of freedom, or None.

    It is quadratic in numeric settings if possible, otherwise linear. Its units are configurations
    (medians over seeds): the error of a model for a configuration is the same with all seeds, so
    that counting each seed as evidence would make noise significant. Its units are runs only if a
    single setting varies: a configuration is then just a value of that setting, and a model of the
    values has no such error. Runs of a cross-validation are never units, since they are correlated.
    """
    sign = 1.0 if results.direction == "max" else -1.0
    units = compared.units()
    rows, values = [unit.row for unit in units], sign * np.array([unit.value for unit in units])
    for enough, degree in itertools.product((COMFORTABLE, SPARE, LEAST), (2, 1)):
        found = _design(results.settings, rows, values, np.ones((len(rows), 1)), degree)
        if found is not None and _spare(found) >= enough:
            return found
    if overlap(results.runs) or not only_one_varies(results.settings, rows):
        return None
    return _of_runs(results, compared, sign)


def only_one_varies(settings: Sequence[Setting], rows: Rows) -> bool:
    """Return whether these rows differ in exactly one setting, which all of them have."""
    varying = [
        setting.name
        for setting in settings
        if len({repr(row.get(setting.name, NOT_THERE)) for row in rows}) > 1
    ]
    return len(varying) == 1 and all(varying[0] in row for row in rows)


def _of_runs(results: Results, compared: Comparable, sign: float) -> Design | None:
    """Return a model whose units are the runs that learned, or None.

    It has columns for the seeds and folds if there are enough runs to separate their effects.
    """
    kept = compared.learned(range(len(compared.runs)))
    runs = [compared.runs[member] for member in kept]
    rows, values = (
        [run.values for run in runs],
        sign * np.array([compared.values[member] for member in kept]),
    )
    for base, degree in itertools.product((_seed_columns(runs), np.ones((len(rows), 1))), (2, 1)):
        found = _design(results.settings, rows, values, base, degree)
        if found is not None and _spare(found) >= SPARE:
            return found
    return None


def _design(
    settings: Sequence[Setting], rows: Rows, values: Array, base: Array, degree: int
) -> Design | None:
    columns = {setting.name: block(setting, rows, degree) for setting in settings}
    blocks = {name: found for name, found in columns.items() if found.shape[1]}
    wide = base.shape[1] + sum(found.shape[1] for found in blocks.values())
    if not blocks or wide > 2 * len(rows) or np.ptp(values) == 0:
        return None
    numeric = {setting.name: scale(setting, rows) is not None for setting in settings}
    return Design(tuple(rows), values, normal_scores(values), base, blocks, numeric)


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
