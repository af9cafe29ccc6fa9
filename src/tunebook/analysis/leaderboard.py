"""Runs that differ in their seed only as one configuration: median, spread and interval of the objective, ranked."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import chi2, t

from tunebook.analysis.learning import ChanceLevel, chance_level, is_ranked, learned
from tunebook.analysis.results import Results, Run, Value

FEW = 3  # repeated configurations, below which a median of variances says nothing


MEDIAN_ERROR = math.sqrt(
    math.pi / 2
)  # a median's standard error against a mean's, of many normal values


@dataclass(frozen=True)
class Configuration:
    """Runs that are equal in all settings. ranked: those that are complete and have a finite objective, one a seed or more.

    learned: ranked runs above chance level, from which all figures are; all ranked runs where none is.
    """

    values: Mapping[str, Value]
    runs: tuple[Run, ...]
    ranked: tuple[Run, ...]
    learned: tuple[Run, ...]
    at_chance: int = 0  # ranked runs that did not learn

    @property
    def n(self) -> int:
        """Ranked runs."""
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
        """Return the sample standard deviation of the runs that learned; NaN for fewer than two."""
        return statistics.stdev(objectives(self.learned)) if len(self.learned) > 1 else math.nan

    @property
    def half_width(self) -> float:
        """Return that of the median's 95 % interval, by Student's t; NaN for fewer than two runs. (Of two, it is the mean's.)"""
        return half_width(objectives(self.learned))

    @property
    def mostly_fails(self) -> bool:
        """Return whether half of its ranked runs or more did not learn."""
        return 2 * self.at_chance >= self.n > 0

    @property
    def seconds(self) -> float:
        """Mean duration of ranked runs; NaN where none is known."""
        known = [run.seconds for run in self.ranked if run.seconds is not None]
        return statistics.fmean(known) if known else math.nan

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of ranked runs, ascending, each once."""
        return tuple(sorted({run.seed for run in self.ranked if run.seed is not None}))

    @property
    def states(self) -> Mapping[str, int]:
        """State -> how many of all its runs are in it."""
        return Counter(run.state for run in self.runs)

    def figures(self, known: Mapping[str, float]) -> list[float]:
        """Return another figure of the runs that learned, where it is known. known: by the run's id."""
        return [known[run.run_id] for run in self.learned if run.run_id in known]

    def by_seed(self) -> dict[int, float]:
        """Seed -> mean objective of its runs that learned."""
        found: dict[int, list[float]] = defaultdict(list)
        for run in self.learned:
            if run.seed is not None:
                found[run.seed].append(objectives([run])[0])
        return {seed: statistics.fmean(values) for seed, values in found.items()}


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation between runs that differ in their seed only, as it typically is, and its degrees of freedom."""

    sd: float
    df: int


def half_width(values: Sequence[float]) -> float:
    """Return that of the 95 % interval of the values' median, by Student's t; NaN for fewer than two. (Of two, it is the mean's.)"""
    n = len(values)
    if n < 2:
        return math.nan
    factor = MEDIAN_ERROR if n > 2 else 1.0
    return factor * float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)


def objectives(runs: Sequence[Run]) -> list[float]:
    """Of runs that have one."""
    return [run.objective for run in runs if run.objective is not None]


def configuration_key(values: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """Equal for equal settings in any order; 1 and True differ."""
    return tuple(sorted((name, repr(value)) for name, value in values.items()))


def leaderboard(results: Results) -> tuple[Configuration, ...]:
    """Return every configuration, best median first.

    Those of which half of the runs or more did not learn come after the others, and those without a ranked run last, in the order of
    their runs.
    """
    chance = chance_level(results)
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = defaultdict(list)
    for run in results.runs:
        groups[configuration_key(run.values)].append(run)
    found = [_configuration(runs, chance) for runs in groups.values()]
    sign = 1 if results.direction == "max" else -1
    return tuple(
        sorted(
            found,
            key=lambda one: (one.mostly_fails, -sign * one.median) if one.n else (True, math.inf),
        )
    )


def _configuration(runs: Sequence[Run], chance: ChanceLevel | None) -> Configuration:
    ranked = tuple(filter(is_ranked, runs))
    failed = sum(chance is not None and chance.holds(value) for value in objectives(ranked))
    return Configuration(runs[0].values, tuple(runs), ranked, learned(ranked, chance), failed)


def seed_noise(configurations: Sequence[Configuration]) -> SeedNoise | None:
    """Return the typical noise between seeds; None where no configuration has two runs that learned.

    It is the median of the configurations' variances, each divided by the median of its distribution under normal noise: a run that
    fails in another way than at chance level makes one variance large, not the typical one. Of one or two, it is their mean.
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
