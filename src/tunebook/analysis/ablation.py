"""Test which steps of an ablation path make a difference, over equal seeds.

Each step is one change of a configuration. The path is described by Fawcett & Hoos (2016),
"Analysing differences between algorithm configurations through ablation".
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunebook.analysis.effects import LEVEL, holm
from tunebook.analysis.pairs import differences_of, paired_half_width, paired_p
from tunebook.metrics.facts import Direction

Verdict = Literal["helps", "nothing shown", "hurts"]


@dataclass(frozen=True)
class StepEffect:
    """Hold what one step of the path, or the whole path, changed.

    keys: the settings that changed. before, after: means of the objective over the seeds.
    difference: after minus before. half_width: half the width of its 95 % interval; NaN for fewer
    than 3 seeds. p: of the paired t test, adjusted over the steps; None for fewer than 3 seeds.
    """

    keys: tuple[str, ...]
    before: float
    after: float
    difference: float
    half_width: float
    p: float | None
    verdict: Verdict


def step_effects(
    path: Sequence[tuple[tuple[str, ...], Mapping[int, float]]], direction: Direction
) -> tuple[StepEffect, ...]:
    """Return the effect of each step, with p adjusted over the steps (Holm 1979).

    The change that is best in a round is tested on the runs by which it was chosen. This does not
    raise the error rate above its level, because the changes that are left over for the last rounds
    are those that did badly: see tests/unit/analysis/test_ablation.py.
    path: the changes that led to each configuration, and its objective for each seed; the first one
    is that of the defaults. All configurations have the same seeds.
    """
    pairs = [(before[1], after[1]) for before, after in itertools.pairwise(path)]
    adjusted = holm({place: _p(*pair) for place, pair in enumerate(pairs)})
    return tuple(
        _effect(path[place + 1][0], *pair, adjusted.get(place), direction)
        for place, pair in enumerate(pairs)
    )


def whole_effect(
    path: Sequence[tuple[tuple[str, ...], Mapping[int, float]]], direction: Direction
) -> StepEffect:
    """Return the effect of all steps together, whose p is not adjusted."""
    keys = tuple(key for step, _ in path for key in step)
    first, last = path[0][1], path[-1][1]
    return _effect(keys, first, last, _p(first, last), direction)


def _p(before: Mapping[int, float], after: Mapping[int, float]) -> float | None:
    return paired_p(_by_repeat(after), _by_repeat(before))


def _by_repeat(values: Mapping[int, float]) -> dict[tuple[int, int], float]:
    return {(seed, -1): value for seed, value in values.items()}


def _effect(
    keys: tuple[str, ...],
    before: Mapping[int, float],
    after: Mapping[int, float],
    p: float | None,
    direction: Direction,
) -> StepEffect:
    differences = list(differences_of(_by_repeat(after), _by_repeat(before)).values())
    difference = statistics.fmean(differences)
    verdict: Verdict = "nothing shown"
    if p is not None and p < LEVEL:
        verdict = "helps" if (difference > 0) == (direction == "max") else "hurts"
    first, last = (statistics.fmean(values.values()) for values in (before, after))
    return StepEffect(keys, first, last, difference, paired_half_width(differences), p, verdict)
