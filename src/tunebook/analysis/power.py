"""Compute the smallest effect of a setting that a study would have detected."""

import itertools

import numpy as np
from scipy.optimize import brentq
from scipy.stats import f, ncf
from statsmodels.robust.scale import qn_scale

from tunebook.analysis.design import Array, Design, fit

POWER = 0.8
MIN_UNITS = 3  # units that a category needs to be considered, if two categories have as many
MAX_NONCENTRAL = 1e4


def smallest_found(model: Design, name: str, level: float) -> float | None:
    """Return the effect that the partial F test at this level detects with a power of 80 %.

    It is in the objective's unit, around the mean: the difference between the two ends of a
    number's range if the effect is linear, or between the two categories that are hardest to tell
    apart. None if it can't be computed.
    """
    if name not in model.own:
        return None
    block, others = model.apart(name)
    rank = int(np.linalg.matrix_rank(np.hstack([others, block])))
    more, spare = rank - int(np.linalg.matrix_rank(others)), len(model.rows) - rank
    noise = residual_noise(model, spare)
    if more < 1 or spare < 1 or not noise > 0:
        return None
    own = [float(np.sum(fit(shape, others).resid ** 2)) for shape in _shapes(model, name, block)]
    if not own or min(own) <= 1e-9:
        return None
    critical = float(f.isf(level, more, spare))
    if ncf.sf(critical, more, spare, MAX_NONCENTRAL) < POWER:
        return None
    needed = brentq(lambda x: float(ncf.sf(critical, more, spare, x)) - POWER, 1e-6, MAX_NONCENTRAL)
    smallest = noise * float(np.sqrt(needed / min(own)))
    return model.scale.difference(float(np.median(model.scores)), smallest)


def residual_noise(model: Design, spare: int) -> float:
    """Return the standard deviation that the settings do not explain, on the transformed scale.

    It is that of the residuals, estimated by Qn (Rousseeuw & Croux 1993), which a few outliers
    hardly affect. spare: the residual degrees of freedom.
    """
    left = np.asarray(fit(model.scores, model.matrix()).resid)
    return float(qn_scale(left)) * float(np.sqrt(len(left) / max(1, spare)))


def _shapes(model: Design, name: str, block: Array) -> list[Array]:
    """Return the forms of the smallest effects: a value per unit, with a difference of 1."""
    if model.is_numeric[name]:
        return [block[:, 0]]
    texts = np.array([str(row.get(name)) if name in row else "" for row in model.rows])
    counts = {text: int(np.sum(texts == text)) for text in dict.fromkeys(texts) if text}
    common = [text for text, n in counts.items() if n >= MIN_UNITS]
    pairs = itertools.combinations(common if len(common) > 1 else list(counts), 2)
    return [0.5 * (texts == a) - 0.5 * (texts == b) for a, b in pairs]
