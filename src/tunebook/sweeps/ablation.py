"""Plan `sweep=ablation`: a path from the defaults to a winner, each step of which is trained.

The path is greedy (Fawcett & Hoos 2016, "Analysing differences between algorithm configurations
through ablation"): each round applies every remaining change to the current configuration, and
keeps the one with the best mean over the seeds.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunebook.config.roles import SEED
from tunebook.sweeps.changes import Change, Changes
from tunebook.sweeps.plan import FinishedTrial, PlanEnded, PlannedTrial, SweepRecord, settings_key
from tunebook.sweeps.space import Point, Space, Value
from tunebook.text_output import counted

MAX_GREEDY = 8  # changes; with more, the first round decides the order
ARRIVED, NO_DEFAULTS, NO_WINNER = (
    "the path has reached the winner",
    "a run of the defaults failed, so there is nothing to compare with",
    "a run of the winner failed",
)


@dataclass(frozen=True)
class PathStep:
    """Hold one configuration on the path.

    keys: the changes that led to it from the configuration before; () for the defaults. settings:
    all that differs on the path. values: seed -> objective. tried: how many changes were compared
    when this one was chosen.
    """

    keys: tuple[str, ...]
    settings: Mapping[str, Value]
    values: Mapping[int, float]
    tried: int = 1


@dataclass(frozen=True)
class FailedChange:
    """Hold changes that were not chosen because a run with them failed.

    keys: the changes. before: those that were already applied. errors: what the runs say.
    """

    keys: tuple[str, ...]
    before: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass
class AblationPath:
    """Hold the path as far as it is known.

    missing: the trials that the next step needs. ended: why there is no next step, or "".
    """

    steps: list[PathStep] = field(default_factory=list)
    failed: list[FailedChange] = field(default_factory=list)
    missing: list[PlannedTrial] = field(default_factory=list)
    ended: str = ""

    @property
    def applied(self) -> tuple[str, ...]:
        """Return the keys of the changes that the path has applied so far."""
        return tuple(key for step in self.steps for key in step.keys)


class AblationPlan:
    """Choose the trials of an ablation; see `plan.Plan`.

    of: the sweep whose winner it is. winner_folder: the folder of that trial. changes: from the
    defaults to the winner. seeds: the same for each configuration, so that configurations can be
    compared in pairs. direction: Optuna's.
    """

    def __init__(
        self,
        of: str,
        winner_folder: Path,
        changes: Changes,
        seeds: Sequence[int],
        direction: Literal["maximize", "minimize"],
    ) -> None:
        self.of, self.winner_folder = of, winner_folder
        self.changes, self.space = changes.changes, changes.space
        self.seeds, self.direction = tuple(seeds), direction

    @property
    def most(self) -> int:
        """Return the number of trials if none fails and no change has to wait for another."""
        count = len(self.changes)
        whole = count <= MAX_GREEDY
        return len(self.seeds) * (1 + count * (count + 1) // 2 if whole else 2 * count)

    @property
    def extent(self) -> str:
        """Return how many trials there are, as text."""
        return f"at most {counted(self.most, 'trial')}"

    def within(self, space: Space) -> "AblationPlan":
        """Return the same plan: none of its values is shipped."""
        return self

    def point(self, applied: Sequence[str]) -> Point:
        """Return the settings of the configuration that has these changes."""
        chosen: dict[str, Value] = dict(self.space.given)
        point: Point = {}
        for one in self.space.dimensions:
            if one.key != SEED and one.applies(chosen):
                default, winners = one.values or (None, None)
                chosen[one.key] = point[one.name] = winners if one.key in applied else default
        return point

    def checked(self) -> list[Point]:
        """Return the two ends of the path."""
        every = [change.key for change in self.changes]
        return [{**self.point(keys), SEED: self.seeds[0]} for keys in ([], every)]

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise InputError if the user's own images are not those that the winner was trained on.

        It can't be checked if the winner was not tracked, or is on another machine.
        """
        from tunebook.sweeps.ablation_images import check_images  # imports torch

        check_images(self.of, self.winner_folder, settings)

    def next_batch(
        self, finished: Sequence[FinishedTrial], workers: int
    ) -> list[PlannedTrial] | PlanEnded:
        """Return the trials of the next round, or say why there is none."""
        path = self.path(finished)
        return PlanEnded(path.ended) if path.ended else path.missing

    def path(self, finished: Sequence[FinishedTrial]) -> AblationPath:
        """Return the path as far as the finished trials allow."""
        return _Walk(self, finished).path()

    def conclude(self, finished: Sequence[FinishedTrial], record: SweepRecord) -> None:
        """Print the path with its statistics, and write the report."""
        from tunebook.sweeps.ablation_result import conclude  # imports statistics

        conclude(self, finished, record, self.of)


class _Walk:
    """Follow the path over the trials that have ended."""

    def __init__(self, plan: AblationPlan, finished: Sequence[FinishedTrial]) -> None:
        self.plan = plan
        self.known = {(settings_key(one.settings), one.seed): one for one in finished}
        self.sign = 1 if plan.direction == "maximize" else -1
        self.order: list[str] = []  # of the first round, best first; only for many changes

    def path(self) -> AblationPath:
        path, left = AblationPath(), list(self.plan.changes)
        path.missing = self._missing(())
        first = self._available((), left)
        # The first round depends on no result, so it is run together with the defaults.
        path.missing += [one for change in first for one in self._missing((change.key,))]
        if path.missing:
            return path
        if (values := self._values(())) is None:
            path.failed.append(FailedChange((), (), self._errors(())))
            path.ended = NO_DEFAULTS
            return path
        path.steps.append(PathStep((), self.plan.point(()), values))
        while left and not path.missing and not path.ended:
            left = self._round(path, left)
        if not left:
            path.ended = ARRIVED
        return path

    def _round(self, path: AblationPath, left: list[Change]) -> list[Change]:
        """Add one step to the path if its trials have ended; return the changes that are left."""
        applied, tried = path.applied, self._available(path.applied, left)
        if len(self.plan.changes) > MAX_GREEDY and self.order:
            return self._next_in_order(path, tried, left)
        path.missing = [one for change in tried for one in self._missing((*applied, change.key))]
        if path.missing:
            return left
        good = {
            change: statistics.fmean(values.values())
            for change in tried
            if (values := self._values((*applied, change.key))) is not None
        }
        for change in tried:
            if change not in good:
                self._add_failure(path, (change.key,))
        ranked = sorted(good, key=lambda change: -self.sign * good[change])  # ties keep the order
        self.order = self.order or [change.key for change in ranked]
        return (
            self._apply(path, (ranked[0],), left, len(tried)) if ranked else self._rest(path, left)
        )

    def _next_in_order(
        self, path: AblationPath, tried: Sequence[Change], left: list[Change]
    ) -> list[Change]:
        """Add the next change in the order of the first round.

        Changes that had to wait for another one come directly after it. Changes that failed come
        last.
        """
        known = {key: place for place, key in enumerate(self.order)}
        waited = {change.key: -1 for change in tried if change.after is not None}
        for change in sorted(tried, key=lambda one: {**known, **waited}.get(one.key, len(known))):
            path.missing = self._missing((*path.applied, change.key))
            if path.missing:
                return left
            if self._values((*path.applied, change.key)) is not None:
                return self._apply(path, (change,), left, 1)
            self._add_failure(path, (change.key,))
        return self._rest(path, left)

    def _rest(self, path: AblationPath, left: list[Change]) -> list[Change]:
        """Apply all remaining changes together, as each of them alone fails."""
        keys = tuple(change.key for change in left)
        path.missing = self._missing((*path.applied, *keys))
        if path.missing:
            return left
        if self._values((*path.applied, *keys)) is None:
            if path.failed[-1].keys != keys:
                self._add_failure(path, keys)
            path.ended = NO_WINNER
            return left
        return self._apply(path, left, left, 1)

    def _apply(
        self, path: AblationPath, chosen: Sequence[Change], left: Sequence[Change], tried: int
    ) -> list[Change]:
        keys = tuple(change.key for change in chosen)
        applied = (*path.applied, *keys)
        values = self._values(applied)
        assert values is not None
        path.steps.append(PathStep(keys, self.plan.point(applied), values, tried))
        return [change for change in left if change not in chosen]

    def _add_failure(self, path: AblationPath, keys: tuple[str, ...]) -> None:
        errors = self._errors((*path.applied, *keys))
        path.failed.append(FailedChange(keys, path.applied, errors))

    def _available(self, applied: Sequence[str], left: Sequence[Change]) -> list[Change]:
        return [change for change in left if change.after is None or change.after in applied]

    def _missing(self, applied: Sequence[str]) -> list[PlannedTrial]:
        point = self.plan.point(applied)
        key = settings_key(point)
        return [
            PlannedTrial(point, seed) for seed in self.plan.seeds if (key, seed) not in self.known
        ]

    def _trials(self, applied: Sequence[str]) -> list[FinishedTrial]:
        key = settings_key(self.plan.point(applied))
        return [self.known[key, seed] for seed in self.plan.seeds]

    def _values(self, applied: Sequence[str]) -> dict[int, float] | None:
        """Return seed -> objective of a configuration, or None if a run of it failed."""
        found = {
            one.seed: one.objective
            for one in self._trials(applied)
            if one.is_complete and one.objective is not None
        }
        return found if len(found) == len(self.plan.seeds) else None

    def _errors(self, applied: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            f"seed {one.seed} {one.state}{': ' if one.error else ''}{one.error}"
            for one in self._trials(applied)
            if not one.is_complete
        )
