"""Plan `sweep=auto`: search within a budget, then more seeds for the best configurations.

The search begins with random configurations, and continues with those of which a model of the
results expects most: see `tunebook.analysis.surrogate`. The last quarter of the budget goes to
finalists. The best three configurations get three seeds each. Every further seed goes to the
configuration where it is expected to improve the choice most.
"""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tunebook.config.roles import SEED
from tunebook.config.validation import SettingError
from tunebook.sweeps.plan import (
    FINAL_SEEDS,
    FinishedTrial,
    PlanEnded,
    PlannedTrial,
    SweepRecord,
    settings_key,
)
from tunebook.sweeps.space import MAX_TRIALS, Dimension, Point, Space, Value
from tunebook.text_output import counted

if TYPE_CHECKING:
    from tunebook.analysis.results import Results, Setting
    from tunebook.analysis.surrogate import Surrogate, Tried

FINALISTS = 3  # configurations that get further seeds first
CONTENDERS = 6  # configurations that may get further seeds
SEEDS_SHARE = 0.25  # of the budget
RANDOM_SHARE, MIN_RANDOM, MAX_RANDOM = 0.3, 8, 20  # trials before the model decides
LOOK_AHEAD = 20  # trials whose expected gain decides whether the search goes on
MAX_CORNERS = 64  # points that are checked before the sweep starts
DRAWS = 200  # attempts to draw a configuration that was not tried
TIME = re.compile(r"(\d+(?:\.\d+)?)([hm])")
SECONDS = {"h": 3600.0, "m": 60.0}
SPENT, LITTLE = (
    "the budget is used up",
    "more runs are expected to gain less than sweep.min_gain",
)


@dataclass(frozen=True)
class Budget:
    """Hold how much a sweep may run: a number of runs, or seconds; the other one is None."""

    runs: int | None
    seconds: float | None

    @classmethod
    def of(cls, value: object) -> "Budget":
        """Return the budget that a user wrote; raise SettingError for anything else."""
        text = str(value)
        found = TIME.fullmatch(text)
        if found and (seconds := float(found[1]) * SECONDS[found[2]]) > 0:
            return cls(None, seconds)
        if text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MAX_TRIALS:
            return cls(int(text), None)
        message = f"must be a number of runs from 1 to {MAX_TRIALS}, or a time such as 4h or 90m"
        raise SettingError("sweep.budget", value, message)

    def __str__(self) -> str:
        """Return the budget as text."""
        if self.runs is not None:
            return counted(self.runs, "trial")
        minutes = (self.seconds or 0.0) / 60
        return f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"

    def total(self, finished: Sequence[FinishedTrial], workers: int) -> int:
        """Return how many runs there will be in the end, judged by those that have ended."""
        if self.runs is not None:
            return self.runs
        if not finished:
            return MAX_TRIALS
        left = (self.seconds or 0.0) - sum(one.seconds for one in finished) / workers
        typical = max(statistics.median(one.seconds for one in finished), 0.1)
        return min(MAX_TRIALS, len(finished) + max(0, round(left * workers / typical)))


@dataclass(frozen=True)
class Goal:
    """Hold what a sweep is to optimize.

    objective: the name of the metric. min_gain: in its unit; the sweep ends early if it expects
    less. seed: of the first run of each configuration. draw_seed: of the random configurations.
    """

    objective: str
    direction: Literal["max", "min"]
    min_gain: float
    seed: int
    draw_seed: int


class AutoPlan:
    """Choose the trials of `sweep=auto`; see `plan.Plan`.

    space: what varies, without the seed. before: the trials of the sweep that this one continues.
    """

    def __init__(
        self, space: Space, budget: Budget, goal: Goal, before: Sequence[FinishedTrial] = ()
    ) -> None:
        self.space = Space(tuple(one for one in space.dimensions if one.key != SEED), space.given)
        self.budget, self.goal, self.before = budget, goal, tuple(before)

    @property
    def most(self) -> int:
        """Return the largest number of trials."""
        return self.budget.runs or MAX_TRIALS

    @property
    def extent(self) -> str:
        """Return how long the sweep goes on, as text."""
        return f"at most {self.budget}" if self.budget.runs else f"trials for at most {self.budget}"

    def within(self, space: Space) -> "AutoPlan":
        """Return the same plan for a smaller space."""
        return AutoPlan(space, self.budget, self.goal, self.before)

    def checked(self) -> list[Point]:
        """Return points that together have each value and each end of a range."""
        return [{**one, SEED: self.goal.seed} for one in self.space.corners(MAX_CORNERS)]

    def check(self, settings: Mapping[str, Any]) -> None:
        """Accept any settings: those of the space are checked one by one."""

    def next_batch(
        self, finished: Sequence[FinishedTrial], workers: int
    ) -> list[PlannedTrial] | PlanEnded:
        """Return the next trials, as many as there are workers, or say why there are none."""
        total = self.budget.total(finished, workers)
        if len(finished) >= total:
            return PlanEnded(SPENT)
        known = [*self.before, *finished]
        configurations = {settings_key(one.settings) for one in known}
        searched = len(finished) - sum(one.seed != self.goal.seed for one in finished)
        for_seeds = max(1, int(SEEDS_SHARE * total)) if total > 1 else 0
        at_random = min(MAX_RANDOM, max(MIN_RANDOM, int(RANDOM_SHARE * total)), total - for_seeds)
        if len(configurations) < at_random:
            missing = min(at_random - len(configurations), total - for_seeds - searched)
            if batch := self._random(known, max(0, missing)):
                return batch
        model = self._model(known)
        size = min(max(1, workers), total - len(finished))
        if searched < total - for_seeds:
            count = min(size, total - for_seeds - searched)
            batch = self._search(model, known, count)
            if batch:
                return batch
        seeds = self._seeds(model, known, size)
        return seeds or PlanEnded(LITTLE)

    def _random(self, known: Sequence[FinishedTrial], count: int) -> list[PlannedTrial]:
        """Return random configurations that were not tried; fewer if there are no more."""
        import numpy as np

        from tunebook.analysis.surrogate import draw

        rng = np.random.default_rng([self.goal.draw_seed, len(known)])
        tried = {settings_key(one.settings) for one in known}
        found: list[PlannedTrial] = []
        for _ in range(count * DRAWS):
            if len(found) == count:
                break
            point = self._point(draw(self._settings(), rng))
            if (key := settings_key(point)) not in tried:
                tried.add(key)
                found.append(PlannedTrial(point, self.goal.seed))
        return found

    def _search(
        self, model: "Surrogate | None", known: Sequence[FinishedTrial], count: int
    ) -> list[PlannedTrial]:
        """Return the configurations from which most is expected; [] if it is too little."""
        if model is None:
            return self._random(known, count)
        proposed = model.propose(max(count, LOOK_AHEAD))
        gain = sum(gain for _, gain in proposed[:LOOK_AHEAD])
        if model.in_unit(gain) < self.goal.min_gain:
            return []
        tried = {settings_key(one.settings) for one in known}
        found: dict[Any, PlannedTrial] = {}
        for values, _ in proposed[:count]:
            point = self._point(values)  # rounding may lead to one that was tried
            if (key := settings_key(point)) not in tried:
                found[key] = PlannedTrial(point, self.goal.seed)
        return list(found.values())

    def _seeds(
        self, model: "Surrogate | None", known: Sequence[FinishedTrial], count: int
    ) -> list[PlannedTrial]:
        """Return further seeds of the best configurations; [] if the choice is settled."""
        from tunebook.analysis.surrogate import next_seed, seeds_gain

        ranked = self.ranked(model, known)
        used = {settings_key(one.values): self._seeds_of(one.values, known) for one in ranked}
        found: list[PlannedTrial] = []

        def add(values: Mapping[str, Value]) -> None:
            seeds = used[settings_key(values)]
            seeds.add(
                seed := next(n for n in range(self.goal.seed, MAX_TRIALS**2) if n not in seeds)
            )
            found.append(PlannedTrial(dict(values), seed))

        for one in ranked[:FINALISTS]:
            for _ in range(FINAL_SEEDS - one.n):
                if len(found) < count:
                    add(one.values)
        if found or model is None or len(ranked) < 2:
            return found
        contenders = list(ranked[:CONTENDERS])
        each = [LOOK_AHEAD // len(contenders)] * len(contenders)
        if model.in_unit(seeds_gain(contenders, model.noise, each)) < self.goal.min_gain:
            return []
        for _ in range(count):
            place = next_seed(contenders, model.noise)
            chosen = contenders[place]
            add(chosen.values)
            sd = chosen.sd / math.sqrt(1 + (chosen.sd / model.noise) ** 2)
            contenders[place] = replace(chosen, n=chosen.n + 1, sd=sd)
        return found

    def ranked(self, model: "Surrogate | None", known: Sequence[FinishedTrial]) -> list["Tried"]:
        """Return the configurations that learned, the best first, by the model if there is one."""
        from tunebook.analysis.surrogate import Tried

        good: dict[Any, list[FinishedTrial]] = {}
        for one in known:
            good.setdefault(settings_key(one.settings), []).append(one)
        complete = {
            key: [one.objective for one in trials if one.objective is not None and one.is_complete]
            for key, trials in good.items()
        }
        usable = {key for key, values in complete.items() if 2 * len(values) > len(good[key])}
        if model is not None:
            found = [one for one in model.tried() if settings_key(one.values) in usable]
            return [replace(one, n=len(good[settings_key(one.values)])) for one in found]
        sign = 1 if self.goal.direction == "max" else -1
        plain = [
            Tried(
                good[key][0].settings, len(good[key]), sign * statistics.fmean(complete[key]), 0.0
            )
            for key in usable
        ]
        return sorted(plain, key=lambda one: -one.mean)

    @staticmethod
    def _seeds_of(values: Mapping[str, Value], known: Sequence[FinishedTrial]) -> set[int]:
        key = settings_key(values)
        return {one.seed for one in known if settings_key(one.settings) == key}

    def _settings(self) -> tuple["Setting", ...]:
        return tuple(map(_setting, self.space.dimensions))

    def _point(self, values: Mapping[str, Value]) -> Point:
        """Return a configuration with whole numbers where the range has them, in a fixed order."""
        point: Point = {}
        for one in self.space.dimensions:
            if one.name in values:
                value = values[one.name]
                whole = (
                    one.values is None and isinstance(one.low, int) and isinstance(one.high, int)
                )
                point[one.name] = round(float(value)) if whole else value  # type: ignore[arg-type]
        return point

    def results(self, known: Sequence[FinishedTrial]) -> "Results":
        """Return the trials as the results that the analysis reads."""
        from tunebook.analysis.results import Results, Run

        runs = tuple(
            Run(str(number), "", one.settings, one.seed, one.state, one.objective)
            for number, one in enumerate(known)
        )
        settings = self._settings()
        return Results("", self.goal.objective, self.goal.direction, settings, runs, adaptive=True)

    def _model(self, known: Sequence[FinishedTrial]) -> "Surrogate | None":
        from tunebook.analysis.surrogate import Surrogate

        return Surrogate.of(self.results(known))

    def conclude(self, finished: Sequence[FinishedTrial], record: SweepRecord) -> None:
        """Print how the budget was used, and what more runs are expected to gain."""
        known = [*self.before, *finished]
        searched = sum(one.seed == self.goal.seed for one in finished)
        finalists = sum(one.n >= FINAL_SEEDS for one in self.ranked(None, known))
        print(
            f"\nsearch         {counted(searched, 'configuration')}, then "
            f"{counted(len(finished) - searched, 'run')} with further seeds; "
            f"{counted(finalists, 'configuration')} with {FINAL_SEEDS} seeds or more"
        )
        if (model := self._model(known)) is not None:
            from tunebook.analysis.sentences import difference_text

            gain = difference_text(record.objective, model.in_unit(model.search_gain(LOOK_AHEAD)))
            print(
                f"more           {LOOK_AHEAD} more trials of the search are expected to gain {gain}"
            )


def _setting(one: Dimension) -> "Setting":
    """Return a dimension as a setting of the analysis."""
    from tunebook.analysis.results import Setting, setting_of_values

    if one.values is None:
        return Setting(one.name, True, (), float(one.low), float(one.high), one.log)
    return setting_of_values(one.name, list(one.values))
