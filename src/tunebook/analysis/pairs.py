"""Compare the leader with the next configurations over equal seeds, or equal folds.

This includes the number of seeds that would be needed to tell them apart. Runs of a
cross-validation are compared by the corrected resampled t test (Nadeau & Bengio 2003).
"""

import bisect
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t
from statsmodels.stats.power import TTestPower

from tunebook.analysis.effects import LEVEL, holm
from tunebook.analysis.leaderboard import Configuration, SeedNoise
from tunebook.analysis.results import Repeat

MIN_SEEDS = 3  # in common; with fewer, nothing is claimed
ENOUGH_PAIRS = 5  # pairs of runs that are needed to estimate their standard deviation
MAX_SEEDS = 1000  # up to which the number of seeds needed is computed
POWER = 0.8
Verdict = Literal[
    "better",
    "indistinguishable from seed noise",
    "fewer than 3 seeds in common: no conclusion",
]


@dataclass(frozen=True)
class Pair:
    """Hold the difference between the leader and another configuration.

    difference: leader minus other, in the objective's unit, over the seeds that they share, or over
        all their runs if they share none.
    repeats: the (seed, fold) that both have.
    half_width: half the width of its 95 % interval; NaN for fewer than 3 of them.
    p: adjusted; None for fewer than 3 of them.
    needed: the number of seeds that tell the two apart with a power of 80 %, at the level of 5 %
        shared among all pairs; None for more than 1000, if the means are equal, or if no noise
        between seeds is known. None for a cross-validation, in which more seeds tell little more.
    """

    leader: Configuration
    other: Configuration
    repeats: tuple[Repeat, ...]
    difference: float
    half_width: float
    p: float | None
    needed: int | None
    verdict: Verdict


def compare_to_best(
    ranked: Sequence[Configuration], noise: SeedNoise | None, most: int = 5
) -> tuple[Pair, ...]:
    """Return the comparisons of the first of `ranked` with each of the `most` after it.

    p is adjusted (Holm 1979) over all pairs of these configurations, not only over those with the
    leader, because the same seeds decided which one leads. Otherwise, the leader of six equal
    configurations would be called better in 8 % of cases.
    """
    compared = list(range(min(len(ranked), most + 1)))
    by_repeat = [ranked[number].by_repeat() for number in compared]
    overlap = max((ranked[number].overlap for number in compared), default=0.0)
    raw = {
        pair: paired_p(by_repeat[pair[0]], by_repeat[pair[1]], overlap)
        for pair in itertools.combinations(compared, 2)
    }
    adjusted = holm(raw)
    level = LEVEL / max(1, len(adjusted))
    return tuple(
        _pair(ranked[0], ranked[number], adjusted.get((0, number)), noise, level)
        for number in compared[1:]
    )


def differences_of(first: dict[Repeat, float], second: dict[Repeat, float]) -> dict[Repeat, float]:
    """Return first minus second for each seed and fold that both have."""
    common = sorted(first.keys() & second.keys())
    return {repeat: first[repeat] - second[repeat] for repeat in common}


def paired_p(
    first: dict[Repeat, float], second: dict[Repeat, float], overlap: float = 0.0
) -> float | None:
    """Return p of Student's paired t test, two-sided; None for fewer than 3 seeds in common.

    If the difference is the same for each seed, p is 0, or 1 if that difference is 0.
    overlap: the ratio of validation to training images in a cross-validation, otherwise 0.
    """
    differences = list(differences_of(first, second).values())
    if len(differences) < MIN_SEEDS:
        return None
    if _spread(differences) == 0:
        return 1.0 if abs(statistics.fmean(differences)) < 1e-12 else 0.0
    n = len(differences)
    error = _spread(differences) * math.sqrt(1 / n + overlap)
    return float(2 * t.sf(abs(statistics.fmean(differences)) / error, n - 1))


def paired_half_width(differences: Sequence[float], overlap: float = 0.0) -> float:
    """Return half the width of the 95 % interval of the mean of paired differences.

    NaN for fewer than 3 of them. overlap: as in `paired_p`.
    """
    n = len(differences)
    if n < MIN_SEEDS:
        return math.nan
    return float(t.ppf(0.975, n - 1)) * _spread(differences) * math.sqrt(1 / n + overlap)


def _spread(differences: Sequence[float]) -> float:
    """Return the standard deviation, or 0 if it is just a rounding error."""
    sd = statistics.stdev(differences)
    return sd if sd > 1e-12 * max(1.0, max(map(abs, differences))) else 0.0


def _pair(
    leader: Configuration,
    other: Configuration,
    p: float | None,
    noise: SeedNoise | None,
    level: float,
) -> Pair:
    """Return the comparison of two configurations.

    level: the level of significance for which the number of seeds needed is computed.
    """
    differences = differences_of(leader.by_repeat(), other.by_repeat())
    overlap = max(leader.overlap, other.overlap)
    n, values = len(differences), list(differences.values())
    difference = statistics.fmean(values) if values else leader.median - other.median
    # The standard deviation of a few pairs would be mostly random.
    pooled = math.sqrt(2) * noise.sd if noise else math.nan
    half_width = paired_half_width(values, overlap)
    verdict: Verdict = (
        "better" if p is not None and p < LEVEL else "indistinguishable from seed noise"
    )
    if n < MIN_SEEDS:
        verdict = "fewer than 3 seeds in common: no conclusion"
    sd = _spread(values) if n >= ENOUGH_PAIRS else pooled
    needed = None if overlap else seeds_needed(difference, sd, level)
    return Pair(leader, other, tuple(differences), difference, half_width, p, needed, verdict)


def seeds_needed(difference: float, sd: float, level: float = LEVEL) -> int | None:
    """Return how many pairs a paired t test needs to detect this difference with a power of 80 %.

    At least 3. None for more than 1000, if there is no difference, or if `sd` is not finite.
    """
    if not math.isfinite(sd) or difference == 0:
        return None
    effect = min(abs(difference) / sd, 10.0) if sd > 0 else 10.0  # for 10, three are enough

    def power(n: int) -> float:
        return float(TTestPower().power(effect, n, level))

    needed = bisect.bisect_left(range(MIN_SEEDS, MAX_SEEDS + 1), POWER, key=power) + MIN_SEEDS
    return needed if needed <= MAX_SEEDS else None
