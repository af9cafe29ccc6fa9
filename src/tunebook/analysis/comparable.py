"""One value a run, of the same epoch in all: a pruned run's last value is early, and compared with late ones it would look worse."""

from dataclasses import dataclass

from tunebook.analysis.leaderboard import is_ranked, usable
from tunebook.analysis.results import Results, Run

UNFINISHED = {"running", "interrupted"}  # say nothing about their settings
CANNOT_BE_COMPARED = "pruned runs have no curve: only runs trained to their end are compared, which pruning has selected"


@dataclass(frozen=True)
class Comparable:
    """runs and values: pairwise, finite values. epoch: up to which all are compared, None: each to its end. warning: '' or a sentence."""

    runs: tuple[Run, ...]
    values: tuple[float, ...]
    epoch: int | None = None
    warning: str = ""


def comparable(results: Results) -> Comparable:
    """Objectives of complete runs; where some were pruned, every run's best value up to the last epoch that all of them have reached."""
    pruned = [run for run in results.runs if run.state == "pruned"]
    complete = [run for run in results.runs if is_ranked(run)]
    with_curve = [run for run in [*complete, *pruned] if any(usable(value) for _, value in run.curve)]
    if not pruned or not any(run.state == "pruned" for run in with_curve):
        values = tuple(run.objective for run in complete if run.objective is not None)
        return Comparable(tuple(complete), values, warning=CANNOT_BE_COMPARED if pruned else "")
    epoch = min(max(number for number, _ in run.curve) for run in with_curve)
    best = max if results.direction == "max" else min
    found: list[tuple[Run, float]] = []
    for run in with_curve:
        reached = [value for number, value in run.curve if number <= epoch and usable(value)]
        if reached:
            found.append((run, best(reached)))
    return Comparable(tuple(run for run, _ in found), tuple(value for _, value in found), epoch)
