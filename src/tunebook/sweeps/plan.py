"""Define how a sweep chooses its trials in batches, by the results of the batches before.

A grid knows all of its trials at the start, and a search draws one at a time. A plan is between the
two: `sweep=ablation` tries several changes at once, and the next round depends on all of them.
`sweep=auto` runs as many trials at once as there are workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from tunebook.sweeps.space import Space, Value

FINAL_SEEDS = 3  # that each finalist of `sweep=auto` has at least


@dataclass(frozen=True)
class PlannedTrial:
    """Hold one trial that is to be run.

    settings: name of each dimension of the sweep's space that applies -> its value, without the
    seed.
    """

    settings: Mapping[str, Value]
    seed: int


@dataclass(frozen=True)
class FinishedTrial(PlannedTrial):
    """Hold a trial that has ended.

    objective: of its best epoch; None if it has none. state: complete, or how it failed, such as
    diverged or timed out. error: one line, or "". seconds: how long it took.
    """

    objective: float | None
    state: str
    error: str = ""
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Return whether the trial has an objective that can be compared."""
        return self.state == "complete" and self.objective is not None and isfinite(self.objective)


@dataclass(frozen=True)
class PlanEnded:
    """Say that a plan has no more trials, and why, in a few words."""

    reason: str


@dataclass(frozen=True)
class SweepRecord:
    """Say where a sweep is recorded.

    outputs: the folder that contains the run folders and the reports. uri: the address of the
    tracking store, or "" if the sweep is not tracked. words: the overrides that all trials share.
    """

    name: str
    objective: str
    outputs: Path
    uri: str
    words: tuple[str, ...]


def settings_key(settings: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """Return a key that is equal for equal settings in any order; those of 1 and True differ."""
    return tuple(sorted((name, repr(value)) for name, value in settings.items()))


class Plan(Protocol):
    """Choose the trials of a sweep in batches.

    A plan keeps no state: its answers depend only on the finished trials that it is given. So a
    sweep that was killed continues from its study, and trials that are run again with
    `sweep.retry_failed=true` count as if they had succeeded at first. A plan for another kind of
    sweep is created in `points.read`, and given to `make_request`; the driver needs no change.
    """

    @property
    def most(self) -> int:
        """Return the largest number of trials that the sweep can have if none fails."""

    @property
    def extent(self) -> str:
        """Return how long the sweep goes on, as text: `at most 12 trials`."""

    def within(self, space: Space) -> "Plan":
        """Return the same plan for a smaller space, from which unfit shipped values are removed."""

    def checked(self) -> Sequence[Mapping[str, Value]]:
        """Return the settings that must be valid before the sweep starts, each with a seed.

        Others may turn out to be invalid when they are run. That trial then fails.
        """

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise InputError if the sweep would make no sense on this machine.

        It is called before anything is created, after the configs have been checked.
        settings: of the run that all trials start from.
        """

    def next_batch(
        self, finished: Sequence[FinishedTrial], workers: int
    ) -> Sequence[PlannedTrial] | PlanEnded:
        """Return the next trials, at least one, or say that the sweep has ended.

        It is called when no trial is waiting or running. Trials that have ended are not run again,
        even if the plan returns them once more.
        finished: all trials that have ended. Of a trial that was run again, only the last run.
        workers: the number of trials that run at once.
        """

    def conclude(self, finished: Sequence[FinishedTrial], record: SweepRecord) -> None:
        """Print what the sweep has shown, and write it to the sweep's reports.

        It is called once the driver has ended, unless it was stopped by a signal.
        """
