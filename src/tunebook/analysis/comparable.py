"""Choose one value per run, from the same epoch in all runs.

The last value of a pruned run is from an early epoch. Compared with values from late epochs, it
would look worse than it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunebook.analysis.leaderboard import by_configuration
from tunebook.analysis.learning import ChanceLevel, chance_level, is_ranked, usable
from tunebook.analysis.results import Results, Run, Value

UNFINISHED = {"running", "interrupted"}  # states that say nothing about settings
ENOUGH = 20  # runs that must have reached an epoch for settings to be compared there
CANNOT_BE_COMPARED = (
    "pruned runs have no curve: only complete runs are compared, and pruning has selected those"
)


@dataclass(frozen=True)
class Unit:
    """Hold a configuration: its settings, its runs and their value.

    members: the positions of its runs in `Comparable.runs`.
    values: the objectives of those that learned; of all if none did.
    learned: whether any learned.
    """

    row: Mapping[str, Value]
    members: tuple[int, ...]
    values: tuple[float, ...]
    learned: bool = True

    @property
    def value(self) -> float:
        """Return the median of the values."""
        return float(np.median(self.values))


@dataclass(frozen=True)
class Comparable:
    """Hold the runs that are compared, and a finite value for each.

    epoch: the epoch up to which all runs are compared; None: the whole of each run.
    warning: '' or a sentence.
    of: the number of all runs, of which `runs` are those that reached the epoch.
    chance: None if it is unknown.
    """

    runs: tuple[Run, ...]
    values: tuple[float, ...]
    epoch: int | None = None
    warning: str = ""
    of: int = 0
    chance: ChanceLevel | None = None

    @property
    def selected(self) -> bool:
        """Return whether pruning decided which runs are compared, or at which epoch.

        If so, no value of a setting can be called the best.
        """
        return self.epoch is not None or bool(self.warning)

    def learned(self, members: Sequence[int]) -> list[int]:
        """Return the positions of those runs that learned; all positions if none did."""
        above = [
            member
            for member in members
            if self.chance is None or not self.chance.holds(self.values[member])
        ]
        return above or list(members)

    def median(self, members: Sequence[int]) -> float:
        """Return the median of the runs at these positions that learned."""
        return float(np.median([self.values[member] for member in self.learned(members)]))

    def units(self) -> list[Unit]:
        """Return the configurations in the order of their first runs."""
        return [
            self._unit(members) for members in by_configuration([run.values for run in self.runs])
        ]

    def _unit(self, members: Sequence[int]) -> Unit:
        kept = self.learned(members)
        values = tuple(self.values[member] for member in kept)
        learned = self.chance is None or not self.chance.holds(values[0])
        return Unit(self.runs[members[0]].values, tuple(members), values, learned)


def comparable(results: Results) -> Comparable:
    """Return the runs to compare, each with one value, at the latest epoch of `ages`."""
    return ages(results)[-1]


def ages(results: Results) -> tuple[Comparable, ...]:
    """Return the runs to compare, at one epoch or at two, the earlier first.

    These are the complete runs with their objectives, if no run was pruned or no pruned run has a
    curve. Otherwise, the values are the best up to an epoch. The first epoch is the highest that
    all runs have reached. The second is the highest that at least 20 runs have reached, if it is
    later; runs that ended before it are left out.
    """
    pruned = [run for run in results.runs if run.state == "pruned"]
    complete = [run for run in results.runs if is_ranked(run)]
    with_curve = [
        run for run in [*complete, *pruned] if any(usable(value) for _, value in run.curve)
    ]
    if not pruned or not any(run.state == "pruned" for run in with_curve):
        values = tuple(run.objective for run in complete if run.objective is not None)
        warning = CANNOT_BE_COMPARED if pruned else ""
        chance = chance_level(results)
        of = len(complete)
        return (Comparable(tuple(complete), values, warning=warning, of=of, chance=chance),)
    last = [max(number for number, _ in run.curve) for run in with_curve]
    epochs = sorted({min(last), _epoch(last)})
    return tuple(_at(results, with_curve, epoch) for epoch in epochs)


def _at(results: Results, with_curve: Sequence[Run], epoch: int) -> Comparable:
    """Return the runs that have reached an epoch, with their best values up to it."""
    best = max if results.direction == "max" else min
    found: list[tuple[Run, float]] = []
    for run in with_curve:
        reached = [value for number, value in run.curve if number <= epoch and usable(value)]
        if reached and max(number for number, _ in run.curve) >= epoch:
            found.append((run, best(reached)))
    return Comparable(
        tuple(run for run, _ in found),
        tuple(value for _, value in found),
        epoch,
        of=len(with_curve),
        chance=chance_level(results),
    )


def _epoch(last: Sequence[int]) -> int:
    """Return the epoch at which runs are compared.

    last: the last epoch of each run.
    """
    enough = sorted(last, reverse=True)[ENOUGH - 1 : ENOUGH]
    return max([min(last), *enough])
