"""Compute what settings cost in time, and which configurations are the best for their time.

Only complete runs count: the durations of pruned and failed runs say how early these ended. A
setting's cost comes from a linear model of log seconds on all settings, fitted by least squares, so
that the costs of other settings do not mix with its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f, t

from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.levels import Level, levels
from tunebook.analysis.results import Results, Setting
from tunebook.analysis.sentences import difference_text

CLEAR = 1.2  # the ratio of the durations of two values from which on it is worth a sentence
LEVEL = 0.05  # significance level, over all settings together
SPARE = 4  # residual degrees of freedom that the model must leave
Array = NDArray[np.float64]


@dataclass(frozen=True)
class LevelCost:
    """Hold what a value of a setting, or a third of its range, costs.

    n: the number of configurations, or of runs if there are few configurations.
    seconds: the median of their durations.
    ratio: its duration relative to that of the fastest value, without the effects of the other
        settings; low, high: the 95 % interval of the ratio. All are 1 for the fastest value.
    """

    level: Level
    n: int
    seconds: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class SettingCost:
    """Hold what the values of a setting cost, the fastest first.

    p: of the F test that the setting does not change the duration, multiplied by the number of
        settings tested (Bonferroni).
    """

    setting: Setting
    p: float
    levels: tuple[LevelCost, ...]

    @property
    def is_clear(self) -> bool:
        """Return whether the slowest value takes at least 20 % longer, and not by chance."""
        slowest = self.levels[-1]
        return self.p < LEVEL and slowest.ratio >= CLEAR and slowest.low > 1


def front(board: Sequence[Configuration], direction: str) -> tuple[Configuration, ...]:
    """Return the Pareto front: the configurations that no other beats in both time and objective.

    They are ordered from the fastest to the best. A configuration has its mean duration and its
    median objective. Those that mostly do not learn are left out.
    board: configurations in any order. direction: "max" if a higher objective is better, or "min".
    """
    sign = 1.0 if direction == "max" else -1.0
    timed = [
        one
        for one in board
        if one.n and not one.mostly_fails and math.isfinite(one.seconds) and one.seconds > 0
    ]
    found: list[Configuration] = []
    for one in sorted(timed, key=lambda one: (one.seconds, -sign * one.median)):
        if not found or sign * one.median > sign * found[-1].median:
            found.append(one)
    return tuple(found)


@dataclass(frozen=True)
class _Model:
    """Hold the linear model of log seconds, with a column for each level of each setting.

    seconds: the duration of each run, or the geometric mean of those of a configuration.
    matrix: ones, then the columns of levels; its columns are linearly dependent.
    places: setting -> the numbers of the columns of its levels.
    """

    seconds: Array
    matrix: Array
    places: Mapping[str, Sequence[int]]

    @property
    def spare(self) -> int:
        """Return the residual degrees of freedom."""
        return len(self.seconds) - int(np.linalg.matrix_rank(self.matrix))

    def residual(self, without: Sequence[int] = ()) -> float:
        """Return the sum of squared residuals of the model, or of one without some columns."""
        columns = np.delete(self.matrix, list(without), axis=1)
        logs = np.log(self.seconds)
        return float(np.sum((logs - columns @ np.linalg.pinv(columns) @ logs) ** 2))


def costs(results: Results, board: Sequence[Configuration]) -> tuple[SettingCost, ...]:
    """Return what each setting costs, the one with the largest ratio first.

    Settings whose values always occur together with values of another setting are left out. The
    units of the model are configurations, or runs if there are too few configurations. Empty if
    there are too few runs as well.
    """
    timed = [
        (one.values, known)
        for one in board
        if (known := [run.seconds for run in one.ranked if run.seconds])
    ]
    of_configurations = [(row, float(np.exp(np.mean(np.log(known))))) for row, known in timed]
    of_runs = [(row, one) for row, known in timed for one in known]
    for units in (of_configurations, of_runs):
        rows, seconds = [row for row, _ in units], np.array([one for _, one in units])
        occurring = {
            setting.name: [level for level in levels(setting, rows) if level.members]
            for setting in results.settings
        }
        varying = {name: found for name, found in occurring.items() if len(found) > 1}
        model = _model(seconds, varying)
        if varying and model.spare >= SPARE:
            settings = [one for one in results.settings if one.name in varying]
            tested = [_cost(model, setting, varying[setting.name]) for setting in settings]
            found = [one for one in tested if one is not None]
            return tuple(sorted(found, key=lambda one: -one.levels[-1].ratio))
    return ()


def _model(seconds: Array, occurring: Mapping[str, Sequence[Level]]) -> _Model:
    """Return the model of these durations.

    occurring: setting -> its levels that at least one unit has.
    """
    columns, places = [np.ones(len(seconds))], dict[str, list[int]]()
    for name, found in occurring.items():
        places[name] = list(range(len(columns), len(columns) + len(found)))
        columns += [
            np.isin(np.arange(len(seconds)), level.members).astype(float) for level in found
        ]
    return _Model(seconds, np.stack(columns, axis=1), places)


def _cost(model: _Model, setting: Setting, occurring: Sequence[Level]) -> SettingCost | None:
    """Return what a setting costs; None if other settings explain the same durations.

    occurring: its levels that at least one configuration has.
    """
    places, full = model.places[setting.name], model.residual()
    inverse = np.linalg.pinv(model.matrix)
    logs = inverse @ np.log(model.seconds)
    fastest = min(places, key=lambda place: float(logs[place]))
    contrasts = np.zeros((len(places), len(logs)))
    contrasts[range(len(places)), places] += 1.0
    contrasts[:, fastest] -= 1.0
    # Only contrasts in the space of the rows do not depend on how dependent columns are fitted.
    if not np.allclose(contrasts @ inverse @ model.matrix, contrasts, atol=1e-6):
        return None
    scale = full / model.spare
    errors = np.sqrt(scale * np.sum((contrasts @ inverse) ** 2, axis=1))
    reach = float(t.ppf(1 - LEVEL / 2, model.spare)) * errors
    ratios = contrasts @ logs
    more = int(np.linalg.matrix_rank(model.matrix)) - int(
        np.linalg.matrix_rank(np.delete(model.matrix, places, axis=1))
    )
    excess = model.residual(places) - full
    if full <= 1e-12 * len(model.seconds):  # no noise at all
        p = 0.0 if excess > 1e-9 else 1.0
    else:
        p = float(f.sf(excess / more / scale, more, model.spare))
    found = [
        LevelCost(
            level,
            len(level.members),
            float(np.median(model.seconds[list(level.members)])),
            *np.exp([ratio, ratio - width, ratio + width]).tolist(),
        )
        for level, ratio, width in zip(occurring, ratios, reach, strict=True)
    ]
    in_order = tuple(sorted(found, key=lambda one: one.ratio))
    return SettingCost(setting, min(1.0, p * len(model.places)), in_order)


def cost_sentences(
    results: Results,
    found: Sequence[SettingCost],
    medians: Mapping[str, Mapping[str, float]],
) -> tuple[str, ...]:
    """Return a sentence for each setting whose values clearly differ in cost.

    It compares the slowest with the fastest value.
    medians: setting -> level -> the median objective, of those settings that matter. It is empty
        if no value can be called better, as in a study with pruned runs.
    """
    return tuple(_sentence(results, one, medians) for one in found if one.is_clear)


def _sentence(
    results: Results, one: SettingCost, medians: Mapping[str, Mapping[str, float]]
) -> str:
    slow, fast = one.levels[-1], one.levels[0]
    text = (
        f"{one.setting.name} {slow.level.text} takes {slow.ratio:.1f} times as long as "
        f"{fast.level.text} (95 % interval {slow.low:.2g} to {slow.high:.2g})"
    )
    known = medians.get(one.setting.name, {})
    if slow.level.text not in known or fast.level.text not in known:
        return f"{text}."
    gain = known[slow.level.text] - known[fast.level.text]
    is_better = gain > 0 if results.direction == "max" else gain < 0
    amount = difference_text(results.objective, abs(gain))
    return f"{text} and is {amount} {'better' if is_better else 'worse'}."
