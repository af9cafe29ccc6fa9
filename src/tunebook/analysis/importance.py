"""Compute how much of the explained variance is due to each setting.

The method is functional ANOVA of a random forest (Hutter et al. 2014), with bootstrap intervals.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial
from tqdm import tqdm

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.design import Rows, normal_scores
from tunebook.analysis.levels import as_text, coordinate, number, scale
from tunebook.analysis.results import Results, Setting

SOURCE = "fANOVA (Hutter et al. 2014)"
BOOTSTRAPS = 40
# In each bootstrap. Leaves of single runs would explain noise, and take a hundred times as long.
TREES, DEPTH = 4, 6
MAX_RUNS = 200  # in a bootstrap, so that 2,000 runs take seconds
MIN_UNITS = 10  # configurations, which are resampled: the seeds of one are not independent
NOT_APPLYING = "does not apply"


@dataclass(frozen=True)
class Importance:
    """Hold the share of the explained variance that is due to one setting by itself.

    The variance is that of normal scores, as far as the forest explains it.
    share: the mean over bootstraps, 0 to 1.
    low, high: their 95 % interval.
    """

    setting: Setting
    share: float
    low: float
    high: float


def importances(results: Results, compared: Comparable) -> tuple[Importance, ...]:
    """Return the importance of each setting that varies, largest first.

    Each call gives the same result. Empty for fewer than 10 configurations or two settings, or if
    all values are equal.
    """
    units = compared.units()
    rows, values = [unit.row for unit in units], np.array([unit.value for unit in units])
    columns = {setting.name: _column(setting, rows) for setting in results.settings}
    varying = [setting for setting in results.settings if len(set(columns[setting.name][0])) > 1]
    if len(values) < MIN_UNITS or np.ptp(values) == 0 or len(varying) < 2:
        return ()
    distributions = {setting.name: columns[setting.name][1] for setting in varying}
    scores = normal_scores(values)
    trials = [
        create_trial(
            params={name: columns[name][0][row] for name in distributions},
            distributions=distributions,
            value=float(scores[row]),
        )
        for row in range(len(values))
    ]
    shares = _bootstrapped(trials, list(distributions))
    if not len(shares):
        return ()
    found = [
        Importance(setting, float(share.mean()), *map(float, np.quantile(share, (0.025, 0.975))))
        for setting, share in zip(varying, shares.T, strict=True)
    ]
    return tuple(sorted(found, key=lambda importance: -importance.share))


def _column(setting: Setting, rows: Rows) -> tuple[list[str | float], BaseDistribution]:
    """Return a setting's value in each configuration, and its distribution.

    If the setting does not apply, a number is in the middle of its range: the forest learns nothing
    from it there.
    """
    ends = scale(setting, rows)
    if ends is None:
        texts: list[str | float] = [
            as_text(row[setting.name]) if setting.name in row else NOT_APPLYING for row in rows
        ]
        return texts, CategoricalDistribution(
            sorted({str(text) for text in texts}) or [NOT_APPLYING]
        )
    places: list[str | float] = [
        coordinate(number(row[setting.name]) or 0.0, *ends) if setting.name in row else 0.5
        for row in rows
    ]
    return places, FloatDistribution(-1e-9, 1 + 1e-9)


def _bootstrapped(trials: Sequence[FrozenTrial], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the shares, with one row per bootstrap and one column per setting."""
    generator = np.random.default_rng(0)
    size = min(len(trials), MAX_RUNS)
    rows: list[list[float]] = []
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        for number_ in tqdm(
            range(BOOTSTRAPS), desc="importance", disable=None, leave=False, delay=1
        ):
            study = optuna.create_study()
            study.add_trials([trials[row] for row in generator.integers(0, len(trials), size)])
            if len({trial.value for trial in study.get_trials(deepcopy=False)}) < 2:
                continue  # all values are equal: there is no variance to explain
            try:
                found = FanovaImportanceEvaluator(
                    n_trees=TREES, max_depth=DEPTH, seed=number_
                ).evaluate(study)
            except RuntimeError:  # no tree has a split: the runs drawn have the same settings
                continue
            rows.append([found[name] for name in names])
    finally:
        optuna.logging.set_verbosity(before)
    return np.array(rows)
