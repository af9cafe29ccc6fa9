"""Detect runs that did not learn, whose objective is at chance level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunebook.analysis.results import Results, Run
from tunebook.metrics.facts import facts_of

# How far above chance a value still counts as chance level: classes have unequal sizes, and the
# best epoch is selected. If low values are better, it is a factor of what guessing gives.
MARGIN, NEARLY = 0.05, 0.98
MIN_RUNS = 5  # needed to estimate chance level if the number of classes is unknown


@dataclass(frozen=True)
class ChanceLevel:
    """Hold the limit up to which a run counts as one that did not learn.

    limit: in the objective's unit.
    sign: 1 if higher is better, else -1.
    classes: the number of classes; None if it is unknown.
    """

    limit: float
    sign: float
    classes: int | None

    def holds(self, value: float) -> bool:
        """Return whether this objective is no better than chance."""
        return self.sign * value <= self.sign * self.limit


def usable(value: float | None) -> bool:
    """Return whether the value is finite, and so is its square.

    The limit of 1e100 is far above the largest float32, 3e38.
    """
    return value is not None and abs(value) < 1e100


def is_ranked(run: Run) -> bool:
    """Return whether the run is complete and has a finite objective."""
    return run.state == "complete" and usable(run.objective)


def chance_level(results: Results) -> ChanceLevel | None:
    """Return the chance level of the objective; None if it is unknown.

    With a known number of classes, it is the level of guessing. Otherwise, fractions within 5
    points of the worst run are at chance level, if the worst is at most half of the median of the
    better half of the runs.
    """
    facts, classes = facts_of(results.objective), results.classes
    if facts.chance is not None and classes is not None and classes > 1:
        guessing = facts.chance(classes)
        if facts.direction == "min":
            return ChanceLevel(NEARLY * guessing, -1.0, classes)
        return ChanceLevel(guessing + min(MARGIN, 0.5 * guessing), 1.0, classes)
    values = sorted(
        run.objective for run in results.runs if is_ranked(run) and run.objective is not None
    )
    if not facts.in_percent or results.direction != "max" or len(values) < MIN_RUNS:
        return None
    reached = float(np.median(values[len(values) // 2 :]))
    return (
        ChanceLevel(values[0] + MARGIN, 1.0, None)
        if 0 <= values[0] <= reached / 2 and reached <= 1
        else None
    )


def learned(runs: Sequence[Run], chance: ChanceLevel | None) -> tuple[Run, ...]:
    """Return the runs above chance level; all of them if none is."""
    above = tuple(
        run
        for run in runs
        if chance is None or run.objective is None or not chance.holds(run.objective)
    )
    return above or tuple(runs)
