"""Compute the smallest effect of a setting that a study would have detected."""

import itertools
import warnings

import numpy as np
from scipy.optimize import brentq
from scipy.stats import f, ncf
from statsmodels.robust.robust_linear_model import RLM
from statsmodels.robust.scale import qn_scale

from tunebook.analysis.design import Array, Design, fit

POWER = 0.8
MIN_UNITS = 3  # units that a category needs to be considered, if two categories have as many
MAX_NONCENTRAL = 1e4


def smallest_found(model: Design, name: str, level: float) -> float | None:
    """Return the effect that the partial F test at this level detects with a power of 80 %.

    It is in the objective's unit: the difference between the two ends of a number's range if the
    effect is linear, or between the two categories that are hardest to tell apart. None if it
    can't be computed.
    """
    others, block = model.matrix(name), model.blocks[name]
    more = int(np.linalg.matrix_rank(model.matrix())) - int(np.linalg.matrix_rank(others))
    spare = len(model.rows) - int(np.linalg.matrix_rank(model.matrix()))
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
    return noise * float(np.sqrt(needed / min(own)))


def residual_noise(model: Design, spare: int) -> float:
    """Return the standard deviation that the settings do not explain.

    It is that of the residuals of a robust fit (Huber 1964), estimated by Qn (Rousseeuw & Croux
    1993), which a few outliers hardly affect. spare: the residual degrees of freedom.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels warns if residuals are 0
        left = np.asarray(RLM(model.values, model.matrix()).fit().resid)
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
