"""One value a run, of the same age in all: a pruned run's last value is early, and compared with late ones it would look worse."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunebook.analysis.leaderboard import configuration_key
from tunebook.analysis.learning import ChanceLevel, chance_level, is_ranked, usable
from tunebook.analysis.results import Results, Run, Value

UNFINISHED = {"running", "interrupted"}  # say nothing about their settings
ENOUGH = 20  # runs that reached an epoch, for which settings are compared at that epoch
CANNOT_BE_COMPARED = "pruned runs have no curve: only runs trained to their end are compared, which pruning has selected"


@dataclass(frozen=True)
class Unit:
    """A configuration: its settings, its runs as positions in what is compared, and the median of those that learned."""

    row: Mapping[str, Value]
    members: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Comparable:
    """runs and values: pairwise, finite values. epoch: up to which all are compared, None: each to its end. warning: '' or a sentence.

    of: how many runs there are, of which those that are compared reached the epoch. chance: None where early epochs are compared.
    """

    runs: tuple[Run, ...]
    values: tuple[float, ...]
    epoch: int | None = None
    warning: str = ""
    of: int = 0
    chance: ChanceLevel | None = None

    @property
    def selected(self) -> bool:
        """Return whether pruning decided at which age runs are compared, or which: then no value can be called the best."""
        return self.epoch is not None or bool(self.warning)

    def learned(self, members: Sequence[int]) -> list[int]:
        """Return those of the runs at these positions that learned; all where none did."""
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
        """Return the configurations, in the order of their first runs."""
        groups: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
        for position, run in enumerate(self.runs):
            groups[configuration_key(run.values)].append(position)
        return [
            Unit(self.runs[members[0]].values, tuple(members), self.median(members))
            for members in groups.values()
        ]


def comparable(results: Results) -> Comparable:
    """Return the objectives of complete runs.

    Where some were pruned, it is every run's best value up to one epoch: the highest that at least 20 runs have reached, or the one
    that all have reached where that is none or earlier. Runs that ended before are left out.
    """
    pruned = [run for run in results.runs if run.state == "pruned"]
    complete = [run for run in results.runs if is_ranked(run)]
    with_curve = [
        run for run in [*complete, *pruned] if any(usable(value) for _, value in run.curve)
    ]
    if not pruned or not any(run.state == "pruned" for run in with_curve):
        values = tuple(run.objective for run in complete if run.objective is not None)
        warning = CANNOT_BE_COMPARED if pruned else ""
        return Comparable(
            tuple(complete), values, warning=warning, of=len(complete), chance=chance_level(results)
        )
    epoch = _epoch([max(number for number, _ in run.curve) for run in with_curve])
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
    )


def _epoch(last: Sequence[int]) -> int:
    """Return the epoch at which runs are compared, given the last one of each."""
    enough = sorted(last, reverse=True)[ENOUGH - 1 : ENOUGH]
    return max([min(last), *enough])
