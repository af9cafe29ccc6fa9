"""Transform objectives to the scale on which the effects of settings add up.

Settings multiply the error of a classifier more than they add to its share of right answers: what
takes an error from 4 % to 2 % takes one from 2 % to 1 %. On a logarithmic scale, both are the same
effect.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunebook.analysis.results import Results
from tunebook.metrics.facts import facts_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Hold a transformation of the objective after which higher is better.

    sign: 1 if a higher objective is better, else -1.
    perfect: the best value that there can be; None: the objective is only multiplied by `sign`.
        Otherwise, the result is minus the decimal logarithm of the distance to it, the error.
    smallest: the error that replaces smaller ones, which have no logarithm.
    """

    sign: float
    perfect: float | None = None
    smallest: float = 0.0

    def forward(self, values: Sequence[float] | Array) -> Array:
        """Return the transformed objectives."""
        given = np.asarray(values, dtype=float)
        if self.perfect is None:
            return self.sign * given
        scores: Array = -np.log10(np.maximum(np.abs(self.perfect - given), self.smallest))
        return scores

    def back(self, score: float) -> float:
        """Return the objective of a transformed value."""
        if self.perfect is None:
            return self.sign * score
        return float(self.perfect - self.sign * 10.0 ** min(-score, 300.0))

    def difference(self, around: float, change: float) -> float:
        """Return what a change of the transformed value means in the objective's unit.

        It is that between half of the change below and above `around`, at least 0.
        """
        return abs(self.back(around + change / 2) - self.back(around - change / 2))

    def log_jacobian(self, values: Sequence[float] | Array) -> float:
        """Return the sum of the logarithms of the derivatives.

        It is what makes likelihoods on different scales comparable (Box & Cox 1964).
        """
        if self.perfect is None:
            return 0.0
        return float(np.sum(self.forward(values))) * math.log(10) - len(values) * math.log(
            math.log(10)
        )


def scales(results: Results, values: Sequence[float]) -> tuple[Scale, ...]:
    """Return the scales that suit these objectives: the logarithm of the error, if any, first."""
    sign = 1.0 if results.direction == "max" else -1.0
    facts = facts_of(results.objective)
    perfect = facts.high if sign > 0 else facts.low
    if perfect is None or facts.direction != results.direction:
        return (Scale(sign),)
    errors = [sign * (perfect - value) for value in values]
    positive = [error for error in errors if error > 0]
    if not positive or min(errors) < 0:
        return (Scale(sign),)
    return Scale(sign, perfect, min(positive) / 2), Scale(sign)
