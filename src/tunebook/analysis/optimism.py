"""Estimate how far the best of many configurations is ahead by luck.

The configuration that leads is chosen because its runs were good, and some of that is noise: with
fresh seeds, it is worse on average (the winner's curse). Its mean over seeds is estimated by
empirical Bayes with normal distributions (James & Stein 1961; Morris 1983, "Parametric empirical
Bayes inference"; Efron 2011, "Tweedie's formula and selection bias"): the mean of the leader is
drawn towards the centre of the others, the more so the larger the noise between seeds is in
comparison with the differences between configurations.

A metric between 0 and 1 is compared on the scale of the logarithm of the error, on which its
noise and its differences near 100 % are about as large as far from it. The centre and the spread
are those of a normal distribution that fits the better half of the configurations. Those that fail
have no influence, nor has the long tail of bad settings.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from tunebook.analysis.leaderboard import (
    MEDIAN_ERROR,
    Configuration,
    SeedNoise,
    objectives,
    seed_noise,
)
from tunebook.analysis.response import Scale, scales
from tunebook.analysis.results import Results, Run
from tunebook.analysis.sentences import difference_text, value_text

MIN_CONFIGURATIONS = 6  # of which the better half shows the spread
MIN_REPEATS = 3  # runs of the leader that make its mean known without shrinkage
# The relative variance of a squared spread, times the number of values. It is 2 for all values of a
# normal distribution, and 3.2 for its better half (simulated).
HALF_SAMPLE = 3.2
# A median of 6 to 20 variances is about as uncertain as a mean of 0.6 times as many (simulated).
MEDIAN_EFFICIENCY = 0.6
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Repeated:
    """Hold what the repeated runs of the leader show by themselves.

    best: the objective of its best run.
    others: the mean of its other runs.
    n: the number of the other runs.
    """

    best: float
    others: float
    n: int


@dataclass(frozen=True)
class Expected:
    """Hold what to expect of the leader with fresh seeds.

    reached: its median objective. n: the number of its runs.
    of: the number of configurations that it was chosen from.
    expected: its estimated mean over seeds; low, high: the 95 % interval of that mean.
    """

    reached: float
    n: int
    of: int
    expected: float
    low: float
    high: float


def optimism(
    results: Results, board: Sequence[Configuration], fresh: bool = False
) -> Repeated | Expected | None:
    """Return what to expect of the leader with fresh seeds, or None if that can't be known.

    It is known from the leader's own runs if these were not what it was chosen by: if `fresh`, or
    if it has at least 3 runs and most other configurations have fewer. Otherwise, it is estimated
    if the noise between seeds is known and there are at least 6 configurations. None for a
    cross-validation, whose folds are not independent.
    board: all configurations, the best first.
    fresh: whether all runs repeat finalists with new seeds.
    """
    ranked = [one for one in board if one.n and not one.mostly_fails]
    if not ranked or any(one.overlap for one in ranked):
        return None
    leader, runs = ranked[0], objectives(ranked[0].learned)
    typical = statistics.median(len(one.learned) for one in ranked)
    if len(runs) >= MIN_REPEATS and (fresh or (len(ranked) > 1 and len(runs) > typical)):
        in_order = sorted(runs, reverse=results.direction == "max")
        return Repeated(in_order[0], statistics.fmean(in_order[1:]), len(runs) - 1)
    scale = scales(results, [value for one in ranked for value in objectives(one.learned)])[0]
    scaled = [_scaled(one, scale) for one in ranked]
    noise = seed_noise(scaled)
    if fresh or noise is None or len(ranked) < MIN_CONFIGURATIONS:
        return None
    pruned = sum(run.state == "pruned" for run in results.runs)
    failed = sum(one.mostly_fails for one in board)
    mean, width = _shrunk(scaled, noise, pruned + failed)
    limits = sorted(map(scale.back, (mean - width, mean + width)))
    return Expected(leader.median, len(runs), len(ranked), scale.back(mean), *limits)


def _scaled(one: Configuration, scale: Scale) -> Configuration:
    def on_scale(runs: Sequence[Run]) -> tuple[Run, ...]:
        known = [run for run in runs if run.objective is not None]
        scores = map(float, scale.forward(objectives(known)))
        return tuple(
            replace(run, objective=score) for run, score in zip(known, scores, strict=True)
        )

    return replace(one, ranked=on_scale(one.ranked), learned=on_scale(one.learned))


def _shrunk(ranked: Sequence[Configuration], noise: SeedNoise, worse: int) -> tuple[float, float]:
    """Return the leader's estimated mean over seeds, and half the width of its 95 % interval.

    ranked: configurations with values of which higher is better, the leader first.
    worse: the number of further configurations, all of which are worse.
    """
    in_order = sorted(ranked, key=lambda one: -one.median)
    leader, total = ranked[0], len(in_order) + worse
    half = in_order[: max(MIN_CONFIGURATIONS // 2, min(len(in_order), (total + 1) // 2))]
    values = np.array([one.median for one in half])
    variances = np.array([_variance(one, noise) for one in half])
    expected = norm.ppf(1 - (np.arange(1, len(half) + 1) - 0.375) / (total + 0.25))
    spread, centre = np.polyfit(expected, values, 1)
    # Among the better half, configurations with luck are overrepresented, not those with few runs.
    between = max(0.0, float(spread) ** 2 - float(np.mean(variances)))
    own = _variance(leader, noise)
    kept = between / (between + own) if own > 0 else 1.0
    mean = float(centre) + kept * (leader.median - float(centre))
    # The variance of the estimate if the spread were known; what its estimate adds (Morris 1983),
    # from half of the configurations; and what the estimate of the noise adds.
    lost, known = 1.0 - kept, len(half)
    variance = own * (kept + lost / known)
    freedom = max(1.0, MEDIAN_EFFICIENCY * noise.df)
    uncertain = HALF_SAMPLE / known + 2.0 / freedom
    variance += uncertain * (lost * (leader.median - float(centre))) ** 2
    return mean, float(t.ppf(0.975, freedom)) * math.sqrt(variance)


def _variance(one: Configuration, noise: SeedNoise) -> float:
    """Return the variance of a configuration's median due to seeds."""
    n = len(one.learned)
    return noise.sd**2 * (MEDIAN_ERROR**2 if n > 2 else 1.0) / n


def optimism_sentence(
    results: Results, board: Sequence[Configuration], found: Repeated | Expected | None
) -> str:
    """Return what to expect of the leader with fresh seeds, or how to know it.

    "" if there is nothing to choose from.
    """
    name, ranked = results.objective, [one for one in board if one.n and not one.mostly_fails]
    if isinstance(found, Repeated):
        gap = difference_text(name, abs(found.best - found.others))
        return (
            f"The leader's best run reached {value_text(name, found.best)}, its other {found.n} "
            f"seeds {value_text(name, found.others)} on average: a single run can be {gap} ahead "
            "by its seed."
        )
    if isinstance(found, Expected):
        low, high = (value_text(name, limit) for limit in (found.low, found.high))
        kind = "" if found.n == 1 else f" (median of {found.n} runs)"
        return (
            f"The best of {found.of} configurations reached {value_text(name, found.reached)}"
            f"{kind}, in part by luck; expect about {value_text(name, found.expected)} "
            f"({low.removesuffix(' %')} to {high}) from fresh seeds."
        )
    if len(ranked) < 2 or any(one.overlap for one in ranked):
        return ""
    if any(len(one.learned) > 1 for one in ranked):
        return ""
    return (
        f"How far the best of {len(ranked)} configurations is ahead by luck is unknown, because no "
        "configuration has several seeds; its runs with fresh seeds will show it."
    )
