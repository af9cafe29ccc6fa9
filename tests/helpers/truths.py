"""Make random studies whose truth is known, to measure how often findings are wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.helpers.studies import ALL, drawn, place
from tunebook.analysis.comparable import ages
from tunebook.analysis.design import design
from tunebook.analysis.effects import BoundaryOptimum, Effects, edges, effects
from tunebook.analysis.importance import Importance, importances
from tunebook.analysis.interactions import Interaction, of_all_ages
from tunebook.analysis.results import Results, Run, Setting

# Standard deviations of accuracies; the second is shared by all seeds of a configuration.
SEED_NOISE, CONFIGURATION_NOISE = 0.001, 0.004


def repeated(
    rng: np.random.Generator,
    configurations: int,
    seeds: int,
    slope: float = 0.0,
    settings: Sequence[Setting] = ALL,
    sinks: float = 0.0,
) -> Results:
    """Return a study in which each configuration has noise of its own.

    slope: the effect of the first numeric setting over its range; the others have none.
    sinks: the share of runs at chance level.
    """
    numeric = next(setting for setting in settings if setting.is_number)
    runs: list[Run] = []
    for _ in range(configurations):
        values = {setting.name: drawn(setting, rng) for setting in settings}
        height = 0.95 + slope * place(numeric, values[numeric.name])
        height += float(rng.normal(0, CONFIGURATION_NOISE))
        for seed in range(seeds):
            objective = height + float(rng.normal(0, SEED_NOISE))
            if rng.random() < sinks:
                objective = float(rng.normal(0.1, 0.005))
            name = f"r{len(runs)}"
            runs.append(Run(name, name, values, seed, "complete", objective, seconds=10.0))
    return Results("study", "val/acc", "max", tuple(settings), tuple(runs))


@dataclass(frozen=True)
class Analysed:
    """Hold effects, edges, pairs and importances of a study."""

    effects: Effects
    edges: tuple[BoundaryOptimum, ...]
    interactions: tuple[Interaction, ...]
    importances: tuple[Importance, ...]


def analysed(results: Results) -> Analysed:
    """Return what the models of a study show, without sentences and commands."""
    each = ages(results)
    models, pairs = of_all_ages(results, [(one, design(results, one)) for one in each])
    found = effects(results, list(zip(each, models, strict=True)))
    ends = edges(models[-1], each[-1], found.settings)
    return Analysed(found, ends, pairs, importances(results, models[-1]))


@dataclass(frozen=True)
class Halving:
    """Simulate successive halving: after each rung's epochs the best third continues.

    early, late: the effect of each setting over its range in the first and in the last epoch.
    In between, it changes linearly with the epochs.
    """

    early: dict[str, float]
    late: dict[str, float]
    noise: float = 0.003
    trials: int = 81
    rungs: tuple[int, ...] = (1, 3, 9, 27)

    def results(self, settings: Sequence[Setting], rng: np.random.Generator) -> Results:
        """Return the simulated study."""
        last = self.rungs[-1]
        rows = [
            {setting.name: drawn(setting, rng) for setting in settings} for _ in range(self.trials)
        ]
        curves = [self._curve(settings, row, rng) for row in rows]
        reached = dict.fromkeys(range(self.trials), last)
        alive = list(range(self.trials))
        for rung in self.rungs[:-1]:
            ranked = sorted(alive, key=lambda trial, rung=rung: -curves[trial][rung - 1])  # type: ignore[misc]
            alive = ranked[: max(1, len(ranked) // 3)]
            reached |= dict.fromkeys(ranked[len(alive) :], rung)
        runs = [
            self._run(trial, rows[trial], curves[trial][: reached[trial]])
            for trial in range(self.trials)
        ]
        return Results("asha", "val/acc", "max", tuple(settings), tuple(runs))

    def _curve(
        self,
        settings: Sequence[Setting],
        row: dict,  # type: ignore[type-arg]
        rng: np.random.Generator,
    ) -> list[float]:
        last = self.rungs[-1]
        own = float(rng.normal(0, self.noise))
        curve: list[float] = []
        for epoch in range(1, last + 1):
            share = (epoch - 1) / (last - 1)
            value = 0.8 + 0.15 * share**0.3 + own + float(rng.normal(0, self.noise / 3))
            for setting in settings:
                early, late = self.early.get(setting.name, 0.0), self.late.get(setting.name, 0.0)
                value += ((1 - share) * early + share * late) * place(setting, row[setting.name])
            curve.append(value)
        return curve

    def _run(self, trial: int, row: dict, curve: Sequence[float]) -> Run:  # type: ignore[type-arg]
        state = "complete" if len(curve) == self.rungs[-1] else "pruned"
        points = tuple(enumerate(curve, 1))
        return Run(f"r{trial}", f"r{trial}", row, 1, state, max(curve), points)
