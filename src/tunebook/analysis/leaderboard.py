"""Runs that differ in their seed only as one configuration: mean, spread and interval of the objective, ranked."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t

from tunebook.analysis.results import Results, Run, Value


@dataclass(frozen=True)
class Configuration:
    """Runs that are equal in all settings. ranked: those that are complete and have a finite objective, one a seed or more."""

    values: Mapping[str, Value]
    runs: tuple[Run, ...]
    ranked: tuple[Run, ...]

    @property
    def n(self) -> int:
        """Ranked runs."""
        return len(self.ranked)

    @property
    def mean(self) -> float:
        """Of the objective over ranked runs; NaN for none."""
        return statistics.fmean(objectives(self.ranked)) if self.ranked else math.nan

    @property
    def sd(self) -> float:
        """Sample standard deviation over ranked runs; NaN for fewer than two."""
        return statistics.stdev(objectives(self.ranked)) if self.n > 1 else math.nan

    @property
    def half_width(self) -> float:
        """Of the mean's 95 % interval, Student's t with n - 1 degrees of freedom; NaN for fewer than two runs."""
        return float(t.ppf(0.975, self.n - 1)) * self.sd / math.sqrt(self.n) if self.n > 1 else math.nan

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

    def by_seed(self) -> dict[int, float]:
        """Seed -> mean objective of its ranked runs."""
        found: dict[int, list[float]] = defaultdict(list)
        for run in self.ranked:
            if run.seed is not None:
                found[run.seed].append(objectives([run])[0])
        return {seed: statistics.fmean(values) for seed, values in found.items()}


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation between runs that differ in their seed only, pooled over configurations; and its degrees of freedom."""

    sd: float
    df: int


def objectives(runs: Sequence[Run]) -> list[float]:
    """Of runs that have one."""
    return [run.objective for run in runs if run.objective is not None]


def usable(value: float | None) -> bool:
    """A finite number, and one whose square is: float32 ends at 3e38."""
    return value is not None and abs(value) < 1e100


def is_ranked(run: Run) -> bool:
    """Trained to its end, with a finite objective."""
    return run.state == "complete" and usable(run.objective)


def configuration_key(values: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """Equal for equal settings in any order; 1 and True differ."""
    return tuple(sorted((name, repr(value)) for name, value in values.items()))


def leaderboard(results: Results) -> tuple[Configuration, ...]:
    """Every configuration, best mean first; those without a ranked run come last, in the order of their runs."""
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = defaultdict(list)
    for run in results.runs:
        groups[configuration_key(run.values)].append(run)
    found = [Configuration(runs[0].values, tuple(runs), tuple(filter(is_ranked, runs))) for runs in groups.values()]
    sign = 1 if results.direction == "max" else -1
    return tuple(sorted(found, key=lambda configuration: -sign * configuration.mean if configuration.n else math.inf))


def seed_noise(configurations: Sequence[Configuration]) -> SeedNoise | None:
    """None where no configuration has two ranked runs."""
    repeated = [configuration for configuration in configurations if configuration.n > 1]
    df = sum(configuration.n - 1 for configuration in repeated)
    squares = sum((configuration.n - 1) * configuration.sd**2 for configuration in repeated)
    return SeedNoise(math.sqrt(squares / df), df) if df else None
