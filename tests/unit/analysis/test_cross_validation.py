"""Runs of a cross-validation are compared by the corrected resampled t test."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from tests.unit.analysis.test_findings import _no_collections  # noqa: F401  (a fixture)
from tunebook.analysis.findings import findings
from tunebook.analysis.leaderboard import MEDIAN_ERROR, leaderboard
from tunebook.analysis.pairs import compare_to_best
from tunebook.analysis.results import Results, Run, Setting
from tunebook.analysis.sentences import sentences

OPTIMIZER = Setting("optimizer", False, ("adam", "sgd"))
FOLDS = 5
ADAM = (0.91, 0.93, 0.90, 0.94, 0.92)
SGD = (0.90, 0.90, 0.90, 0.91, 0.89)


def results(folds: int | None = FOLDS) -> Results:
    runs = [
        Run(
            f"{name} {fold}", "", {"optimizer": name}, 0 if folds else fold, "complete", value,
            fold=fold if folds else None, folds=folds,
        )
        for name, values in (("adam", ADAM), ("sgd", SGD))
        for fold, value in enumerate(values)
    ]  # fmt: skip
    return Results("s", "val/acc", "max", (OPTIMIZER,), tuple(runs))


def test_the_difference_is_that_of_nadeau_and_bengio() -> None:
    """Its variance is sd**2 * (1 / n + validation images / training images), equation 9."""
    (pair,) = findings(results()).pairs
    differences = np.subtract(ADAM, SGD)
    error = differences.std(ddof=1) * math.sqrt(1 / FOLDS + 1 / (FOLDS - 1))
    assert pair.difference == pytest.approx(differences.mean())
    assert pair.p == pytest.approx(2 * t.sf(differences.mean() / error, FOLDS - 1))
    assert pair.half_width == pytest.approx(t.ppf(0.975, FOLDS - 1) * error)
    assert pair.needed is None


def test_an_interval_is_wider_than_that_of_as_many_seeds() -> None:
    folded, seeded = leaderboard(results())[0], leaderboard(results(None))[0]
    factor = (MEDIAN_ERROR**2 / FOLDS + 1 / (FOLDS - 1)) / (MEDIAN_ERROR**2 / FOLDS)
    assert folded.half_width == pytest.approx(seeded.half_width * math.sqrt(factor))


def test_folds_are_not_counted_as_independent_runs() -> None:
    folded, seeded = findings(results()), findings(results(None))
    assert seeded.effects[0].p is not None
    assert folded.effects[0].p is None


def test_sentences_speak_of_folds() -> None:
    text = " ".join(sentences(findings(results())))
    assert "the mean over 5 common folds" in text
    assert "The fold alone changes val/acc" in text
    assert "seed" not in text


def test_equal_configurations_are_rarely_called_different() -> None:
    """Folds share training images, so their differences share a part of their error.

    The correction assumes a correlation of validation / all images. Uncorrected, half of these
    comparisons would be significant.
    """
    rng, correlation, called = np.random.default_rng(0), 1 / FOLDS, 0
    for _ in range(400):
        shared = rng.normal(0, math.sqrt(correlation), 1)
        values = 0.01 * (shared + rng.normal(0, math.sqrt(1 - correlation), FOLDS))
        runs = [
            replace(run, objective=0.9 + (values[run.fold or 0] if number < FOLDS else 0.0))
            for number, run in enumerate(results().runs)
        ]
        (pair,) = compare_to_best(leaderboard(replace(results(), runs=tuple(runs))), None)
        called += pair.verdict == "better"
    assert called <= 0.075 * 400
