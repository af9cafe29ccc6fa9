"""Group runs that differ only in their seed or their fold into configurations, and rank these.

A configuration has the median of its objectives, their spread and an interval.
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import chi2, t

from tunebook.analysis.learning import ChanceLevel, chance_level, is_ranked, learned
from tunebook.analysis.results import Repeat, Results, Run, Value, overlap

FEW = 3  # repeated configurations; with fewer, a median of variances says nothing
# The standard error of a median relative to that of a mean, of many normally distributed values.
MEDIAN_ERROR = math.sqrt(math.pi / 2)


@dataclass(frozen=True)
class Configuration:
    """Hold the runs that are equal in all settings.

    All statistics use `learned`, except durations and seeds.
    ranked: the complete runs with a finite objective; a seed may occur more than once.
    learned: the ranked runs above chance level; all ranked runs if none is.
    """

    values: Mapping[str, Value]
    runs: tuple[Run, ...]
    ranked: tuple[Run, ...]
    learned: tuple[Run, ...]
    at_chance: int = 0  # ranked runs that did not learn

    @property
    def n(self) -> int:
        """Return the number of ranked runs."""
        return len(self.ranked)

    @property
    def median(self) -> float:
        """Return the median objective of the runs that learned; NaN for none."""
        return statistics.median(objectives(self.learned)) if self.learned else math.nan

    @property
    def mean(self) -> float:
        """Return the mean objective of the runs that learned; NaN for none."""
        return statistics.fmean(objectives(self.learned)) if self.learned else math.nan

    @property
    def sd(self) -> float:
        """Return the standard deviation of the runs that learned; NaN for fewer than two."""
        return statistics.stdev(objectives(self.learned)) if len(self.learned) > 1 else math.nan

    @property
    def half_width(self) -> float:
        """Return the half width of the 95 % interval of the median, by Student's t.

        For two runs it is that of the mean, and NaN for fewer.
        """
        return half_width(objectives(self.learned), self.overlap)

    @property
    def overlap(self) -> float:
        """Return the ratio of validation to training images in a cross-validation, otherwise 0."""
        return overlap(self.learned)

    @property
    def mostly_fails(self) -> bool:
        """Return whether at least half of the ranked runs did not learn."""
        return 2 * self.at_chance >= self.n > 0

    @property
    def seconds(self) -> float:
        """Return the mean duration of ranked runs in seconds; NaN if none is known."""
        known = [run.seconds for run in self.ranked if run.seconds is not None]
        return statistics.fmean(known) if known else math.nan

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of ranked runs in ascending order, each once."""
        return tuple(sorted({run.seed for run in self.ranked if run.seed is not None}))

    @property
    def states(self) -> Mapping[str, int]:
        """Return state -> the number of all runs in that state."""
        return Counter(run.state for run in self.runs)

    def figures(self, known: Mapping[str, float]) -> list[float]:
        """Return another metric of those runs that learned and for which it is known.

        known: run id -> value.
        """
        return [known[run.run_id] for run in self.learned if run.run_id in known]

    def by_repeat(self) -> dict[Repeat, float]:
        """Return (seed, fold) -> mean objective of its runs that learned."""
        found: dict[Repeat, list[float]] = defaultdict(list)
        for run in self.learned:
            if run.repeat is not None:
                found[run.repeat].append(objectives([run])[0])
        return {repeat: statistics.fmean(values) for repeat, values in found.items()}


@dataclass(frozen=True)
class SeedNoise:
    """Hold the typical standard deviation between runs that differ only in their seed or fold.

    df: its degrees of freedom.
    """

    sd: float
    df: int


def half_width(values: Sequence[float], overlap: float = 0.0) -> float:
    """Return the half width of the 95 % interval of the values' median, by Student's t.

    For two values it is that of their mean, and NaN for fewer.
    overlap: the ratio of validation to training images, if the values are of a cross-validation.
    """
    n = len(values)
    if n < 2:
        return math.nan
    factor = MEDIAN_ERROR if n > 2 else 1.0
    error = statistics.stdev(values) * math.sqrt(factor**2 / n + overlap)
    return float(t.ppf(0.975, n - 1)) * error


def objectives(runs: Sequence[Run]) -> list[float]:
    """Return the objectives of the runs that have one."""
    return [run.objective for run in runs if run.objective is not None]


def configuration_key(values: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """Return a key that is equal for equal settings in any order.

    The keys of 1 and True differ.
    """
    return tuple(sorted((name, repr(value)) for name, value in values.items()))


def by_configuration(rows: Sequence[Mapping[str, Value]]) -> list[list[int]]:
    """Return the positions of each configuration's rows, in the order of their first rows."""
    groups: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        groups[configuration_key(row)].append(position)
    return list(groups.values())


def leaderboard(results: Results) -> tuple[Configuration, ...]:
    """Return every configuration, the best first.

    They are in the order of their medians. If some have more runs than others, a standard error is
    first taken off each median: the typical noise between seeds, divided by the square root of the
    number of runs. Otherwise, luck would put the best of many single runs before the finalists that
    were repeated.
    Configurations of which at least half of the runs did not learn come after the others. Those
    without a ranked run come last, in the order of their runs.
    """
    chance = chance_level(results)
    found = [
        _configuration([results.runs[member] for member in members], chance)
        for members in by_configuration([run.values for run in results.runs])
    ]
    sign, noise = 1 if results.direction == "max" else -1, seed_noise(found)
    sd = noise.sd if noise is not None else 0.0

    def place(one: Configuration) -> tuple[bool, float]:
        if not one.n:
            return True, math.inf
        return one.mostly_fails, sd / math.sqrt(len(one.learned)) - sign * one.median

    return tuple(sorted(found, key=place))


def _configuration(runs: Sequence[Run], chance: ChanceLevel | None) -> Configuration:
    ranked = tuple(filter(is_ranked, runs))
    failed = sum(chance is not None and chance.holds(value) for value in objectives(ranked))
    return Configuration(runs[0].values, tuple(runs), ranked, learned(ranked, chance), failed)


def seed_noise(configurations: Sequence[Configuration]) -> SeedNoise | None:
    """Return the typical noise between seeds, or None.

    None if no configuration has two runs that learned. Otherwise, it is based on the median of the
    configurations' variances, each divided by the median of its distribution under normal noise. A
    run that fails in another way than at chance level makes one variance large, but not the median
    of many. For one or two variances, their mean is used, weighted by degrees of freedom.
    """
    repeated = [one for one in configurations if len(one.learned) > 1 and one.at_chance < one.n]
    freedom = [len(one.learned) - 1 for one in repeated]
    if not repeated:
        return None
    if len(repeated) < FEW:
        pooled = sum(df * one.sd**2 for df, one in zip(freedom, repeated, strict=True)) / sum(
            freedom
        )
        return SeedNoise(math.sqrt(pooled), sum(freedom))
    variances = [
        one.sd**2 * df / float(chi2.median(df)) for df, one in zip(freedom, repeated, strict=True)
    ]
    return SeedNoise(math.sqrt(statistics.median(variances)), sum(freedom))
