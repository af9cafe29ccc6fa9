"""Model the objective as a smooth function of the settings, to choose what to run next.

It is a Gaussian process with a Matern kernel that has a length scale for each setting, as in
Snoek et al. (2012), "Practical Bayesian optimization of machine learning algorithms". New
configurations have the largest expected improvement; several that run at once are chosen one after
the other, as if each had given what the model expects (Ginsbourger et al. 2010).

The objective is on the scale on which effects add up: see `response`. A learning rate that has a
range for each optimizer is one input, its place in the range. Runs that failed or did not learn are
left out: many of them fail by their seed, and would hide a good region.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tunebook.analysis.leaderboard import configuration_key
from tunebook.analysis.learning import chance_level, is_ranked
from tunebook.analysis.response import Scale, scales
from tunebook.analysis.results import Results, Setting, Value, family

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

Array = NDArray[np.float64]
Values = Mapping[str, Value]
Draw = Callable[[np.random.Generator], dict[str, Value]]

LEAST, MOST = 8, 100  # configurations that a model needs, and runs that it has: the best ones
WORST = 0.1  # quantile of the runs that learned: what is worse counts as this
RANDOM, NEAR, BEST = 400, 1200, 8  # candidates drawn at random, near the best ones, and those
CHANGED, STEP = 0.3, 0.1  # share of settings that a near candidate changes, and sd in the range
SAMPLES = 1000
SEED = 0  # of candidates and of samples: the same study gives the same answer


class Encoder:
    """Turn configurations into numbers between 0 and 1.

    A family of settings is one number, and an option of a list without order has a number each.
    """

    def __init__(self, settings: Sequence[Setting]) -> None:
        self.settings = settings
        numbers = [one for one in settings if one.is_number and one.low < one.high]
        self.numbers = list(dict.fromkeys(family(one.name) for one in numbers))
        self.choices = [
            (one.name, repr(value))
            for one in settings
            if not (one.is_number and one.low < one.high)
            for value in one.values
        ]

    def __call__(self, values: Values) -> Array:
        """Return the numbers of a configuration; a setting that does not apply is in the middle."""
        places = dict.fromkeys(self.numbers, 0.5)
        for one in self.settings:
            if one.is_number and one.low < one.high and one.name in values:
                places[family(one.name)] = place(one, values[one.name])
        options = [
            float(name in values and repr(values[name]) == value) for name, value in self.choices
        ]
        return np.array([*places.values(), *options])


def place(setting: Setting, value: Value) -> float:
    """Return where a number lies in the range of its setting, from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.5
    low, high, at = setting.low, setting.high, float(value)
    if setting.log and low > 0:
        low, high, at = math.log(low), math.log(high), math.log(max(at, low))
    return min(1.0, max(0.0, (at - low) / (high - low)))


def at_place(setting: Setting, share: float) -> float:
    """Return the number at a place of the range: the inverse of `place`."""
    low, high = setting.low, setting.high
    if setting.log and low > 0:
        return math.exp(math.log(low) + share * math.log(high / low))
    return low + share * (high - low)


def condition(setting: Setting) -> tuple[str, str] | None:
    """Return the (key, option) with which a setting applies, or None if it always does."""
    _, _, when = setting.name.partition(" (")
    key, _, option = when.removesuffix(")").partition("=")
    return (key, option) if when else None


def draw(settings: Sequence[Setting], rng: np.random.Generator) -> dict[str, Value]:
    """Return a random configuration; settings that others depend on come first."""
    values: dict[str, Value] = {}
    for one in sorted(settings, key=lambda one: condition(one) is not None):
        if _applies(one, values, settings):
            values[one.name] = _drawn(one, rng)
    return values


def _applies(one: Setting, values: Values, settings: Sequence[Setting]) -> bool:
    when = condition(one)
    if when is None or all(other.name != when[0] for other in settings):
        return True
    return when[0] in values and str(values[when[0]]) == when[1]


def _drawn(one: Setting, rng: np.random.Generator) -> Value:
    if one.values:
        return one.values[int(rng.integers(len(one.values)))]
    return at_place(one, float(rng.random()))


def near(values: Values, settings: Sequence[Setting], rng: np.random.Generator) -> dict[str, Value]:
    """Return a configuration that differs from another one in some settings, a little."""
    found: dict[str, Value] = {}
    for one in sorted(settings, key=lambda one: condition(one) is not None):
        if not _applies(one, found, settings):
            continue
        if one.name not in values:
            found[one.name] = _drawn(one, rng)
        elif rng.random() >= CHANGED:
            found[one.name] = values[one.name]
        elif one.values and one.is_number and values[one.name] in one.values:
            index = one.values.index(values[one.name]) + int(rng.choice([-1, 1]))
            found[one.name] = one.values[min(max(index, 0), len(one.values) - 1)]
        elif one.values:
            found[one.name] = _drawn(one, rng)
        else:
            at = place(one, values[one.name]) + float(rng.normal(0, STEP))
            found[one.name] = at_place(one, min(1.0, max(0.0, at)))
    return found


@dataclass(frozen=True)
class Tried:
    """Hold a configuration that was run, and what the model expects of it.

    n: the number of its runs that ended. mean, sd: of its score with any seed, and how well that is
    known; on the model's scale.
    """

    values: Values
    n: int
    mean: float
    sd: float


class Surrogate:
    """Hold the model of a study's runs; `of` makes it."""

    def __init__(
        self, results: Results, scale: Scale, rows: Sequence[Values], scores: Array
    ) -> None:
        self.settings, self.scale = results.settings, scale
        self.encode = Encoder(results.settings)
        self.rows = list(rows)
        self.centre, self.spread = float(scores.mean()), max(float(scores.std()), 1e-9)
        self.scores = (scores - self.centre) / self.spread
        self.inputs = np.array([self.encode(row) for row in rows])
        self.kernel = _fitted(self.inputs, self.scores).kernel_
        self.process = self._process(self.inputs, self.scores)

    @classmethod
    def of(cls, results: Results) -> "Surrogate | None":
        """Return the model of the runs that have ended; None for too few that learned."""
        chance = chance_level(results)
        good = [
            run
            for run in results.runs
            if is_ranked(run) and not (chance and chance.holds(run.objective or 0.0))
        ]
        if len({configuration_key(run.values) for run in good}) < LEAST:
            return None
        values = [float(run.objective or 0.0) for run in good]
        scale = scales(results, values)[0]
        scores = scale.forward(values)
        scores = np.maximum(scores, np.quantile(scores, WORST))
        best = np.sort(np.argsort(-scores, kind="stable")[:MOST])
        return cls(results, scale, [good[int(number)].values for number in best], scores[best])

    @property
    def noise(self) -> float:
        """Return the standard deviation between seeds, on the model's scale."""
        return math.sqrt(float(self.kernel.k2.noise_level))

    def _process(self, inputs: Array, scores: Array) -> "GaussianProcessRegressor":
        from sklearn.gaussian_process import GaussianProcessRegressor

        return GaussianProcessRegressor(self.kernel, optimizer=None).fit(inputs, scores)

    def predict(
        self, rows: Sequence[Values], process: "GaussianProcessRegressor | None" = None
    ) -> tuple[Array, Array]:
        """Return the means over seeds, and how well these are known (standard deviations)."""
        inputs = np.array([self.encode(row) for row in rows])
        mean, sd = (process or self.process).predict(inputs, return_std=True)
        return mean, np.sqrt(np.maximum(sd**2 - self.noise**2, 1e-12))

    def tried(self) -> list[Tried]:
        """Return each configuration that was run, the best first."""
        counts: dict[Any, int] = {}
        first: dict[Any, Values] = {}
        for row in self.rows:
            key = configuration_key(row)
            first.setdefault(key, row)
            counts[key] = counts.get(key, 0) + 1
        means, sds = self.predict(list(first.values()))
        found = [
            Tried(values, counts[key], float(mean), float(sd))
            for (key, values), mean, sd in zip(first.items(), means, sds, strict=True)
        ]
        return sorted(found, key=lambda one: -one.mean)

    def propose(self, count: int) -> list[tuple[dict[str, Value], float]]:
        """Return configurations to run next, each with its expected improvement.

        None of them has been run. There may be fewer than `count`, if the space has no more. The
        improvement is over the best one that was run, on the model's scale.
        """
        rng = np.random.default_rng(SEED + len(self.rows))
        best = [one.values for one in self.tried()[:BEST]]
        candidates = [draw(self.settings, rng) for _ in range(RANDOM)]
        candidates += [
            near(best[int(rng.integers(len(best)))], self.settings, rng) for _ in range(NEAR)
        ]
        new = {configuration_key(one): one for one in candidates}
        for row in self.rows:
            new.pop(configuration_key(row), None)
        candidates = list(new.values())
        inputs, scores, process = self.inputs, self.scores, self.process
        found: list[tuple[dict[str, Value], float]] = []
        for _ in range(min(count, len(candidates))):
            mean, sd = self.predict(candidates, process)
            reached = float(process.predict(inputs).max())
            gain = (mean - reached) * norm.cdf((mean - reached) / sd) + sd * norm.pdf(
                (mean - reached) / sd
            )
            number = int(gain.argmax())
            chosen = candidates.pop(number)
            found.append((chosen, float(gain[number])))
            inputs = np.vstack([inputs, self.encode(chosen)])
            scores = np.append(scores, mean[number])
            process = self._process(inputs, scores)
        return found

    def search_gain(self, count: int) -> float:
        """Return the sum of the expected improvements of the next trials, on the model's scale."""
        return sum(gain for _, gain in self.propose(count))

    def in_unit(self, gain: float) -> float:
        """Return what a gain over the best configuration is in the objective's unit."""
        best = self.centre + self.spread * self.tried()[0].mean
        return abs(self.scale.back(best + self.spread * gain) - self.scale.back(best))


def _fitted(inputs: Array, scores: Array) -> "GaussianProcessRegressor":
    """Return the process with the kernel under which the scores are most likely."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scales_of_settings = Matern(np.full(inputs.shape[1], 1.5), (0.2, 30.0), nu=2.5)
    kernel = ConstantKernel(1.0, (0.05, 50.0)) * scales_of_settings + WhiteKernel(0.1, (0.005, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is fine
        return GaussianProcessRegressor(kernel).fit(inputs, scores)


def seeds_gain(tried: Sequence[Tried], noise: float, more: Sequence[int]) -> float:
    """Return the expected gain of further seeds before the best configuration is chosen.

    It is what the chosen one is expected to be ahead of the one that would be chosen now, on the
    model's scale. more: the number of further seeds of each configuration.
    """
    rng = np.random.default_rng(SEED)
    means = np.array([one.mean for one in tried])
    # The standard deviation of the estimate after these runs, seen from now.
    moves = np.array(
        [
            one.sd**2 / math.sqrt(one.sd**2 + noise**2 / n) if n else 0.0
            for one, n in zip(tried, more, strict=True)
        ]
    )
    after = means + moves * rng.normal(size=(SAMPLES, len(means)))
    return float(after.max(axis=1).mean() - means.max())


def next_seed(tried: Sequence[Tried], noise: float) -> int:
    """Return the place of the configuration of which one more seed is worth most.

    It has the largest expected gain of a single run (the knowledge gradient, Frazier et al. 2008).
    """
    gains = []
    for number, one in enumerate(tried):
        others = max((other.mean for other in tried if other is not one), default=one.mean)
        move = one.sd**2 / math.sqrt(one.sd**2 + noise**2)
        gap = -abs(one.mean - others) / max(move, 1e-12)
        gains.append((move * (norm.pdf(gap) + gap * norm.cdf(gap)), -number))
    return -max(gains)[1]
