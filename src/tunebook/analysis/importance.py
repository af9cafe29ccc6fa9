"""How much each setting has in what all of them explain: functional ANOVA of a forest (Hutter et al. 2014), bootstrap intervals."""

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
TREES, DEPTH = (
    4,
    6,
)  # of each; leaves of single runs would explain noise, and take a hundred times as long
MOST_RUNS = 200  # a bootstrap, so that 2,000 runs take seconds
FEWEST_UNITS = 10  # configurations, which are what is drawn: the seeds of one are not independent
NOT_APPLYING = "does not apply"


@dataclass(frozen=True)
class Importance:
    """Share that a setting has by itself in what the forest explains of the variance of normal scores, 0 to 1.

    share: the mean over bootstraps; low, high: their 95 % interval.
    """

    setting: Setting
    share: float
    low: float
    high: float


def importances(results: Results, compared: Comparable) -> tuple[Importance, ...]:
    """Of each that varies, largest first; the same for each call.

    () for fewer than 10 configurations or two settings, or one value in all.
    """
    units = compared.units()
    rows, values = [unit.row for unit in units], np.array([unit.value for unit in units])
    columns = {setting.name: _column(setting, rows) for setting in results.settings}
    varying = [setting for setting in results.settings if len(set(columns[setting.name][0])) > 1]
    if len(values) < FEWEST_UNITS or np.ptp(values) == 0 or len(varying) < 2:
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
    """A value a configuration. Where the setting does not apply, a number is in the middle: there the forest learns nothing of it."""
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
    """A row a bootstrap, a column a setting."""
    generator = np.random.default_rng(0)
    size = min(len(trials), MOST_RUNS)
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
                continue  # the same value throughout: no variance to share out
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
