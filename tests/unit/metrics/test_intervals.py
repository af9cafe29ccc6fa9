"""Intervals cover the true value as often as they say, and equal seeds give equal ones."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from tests.integration.test_metrics import CLASSES, guesses, settings_of
from tunebook.metrics import intervals
from tunebook.metrics.intervals import intervals_of_test
from tunebook.metrics.kept import make_metrics


def test_the_interval_of_an_accuracy_covers_the_truth() -> None:
    """Of 300 data sets, about 95 % have an interval that contains the true accuracy."""
    truth, size, covered = 0.9, 300, 0
    draw = np.random.default_rng(0)
    labels = torch.zeros(size, dtype=torch.int64)
    for seed in range(300):
        right = torch.from_numpy(draw.random(size) < truth)
        logits = torch.stack([right.float(), 1 - right.float()], dim=1)
        low, high = intervals_of_test(logits, labels, {}, seed)["test/acc"]
        covered += low <= truth <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_its_width_is_that_of_theory() -> None:
    logits, labels = guesses(4000)
    found = intervals_of_test(logits, labels, {}, 1)
    loss = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    right = (logits.argmax(1) == labels).double()
    for name, values in {"test/loss": loss, "test/acc": right}.items():
        low, high = found[name]
        assert low < values.mean() < high
        width = 2 * 1.96 * float(values.std()) / math.sqrt(len(values))
        assert high - low == pytest.approx(width, rel=0.1)


def test_equal_seeds_give_equal_intervals() -> None:
    logits, labels = guesses(100)
    metrics = make_metrics(settings_of("balanced"), CLASSES)
    one, same, other = (intervals_of_test(logits, labels, metrics, seed) for seed in (3, 3, 4))
    assert one == same
    assert all(one[name] != other[name] for name in one)
    assert set(one) == {"test/loss", "test/acc", "test/balanced_acc", "test/macro_f1"}


def test_further_metrics_are_those_of_resampled_images() -> None:
    logits, labels = guesses(300)
    metrics = make_metrics(settings_of("balanced"), CLASSES)
    low, high = intervals_of_test(logits, labels, metrics, 0)["test/macro_f1"]
    draw, guessed = np.random.default_rng(0), logits.argmax(1).numpy()
    values = []
    for _ in range(500):
        drawn = draw.integers(0, 300, 300)
        values.append(f1_score(labels.numpy()[drawn], guessed[drawn], average="macro"))
    expected = np.quantile(values, [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.15 * np.ptp(expected))


def test_many_probabilities_have_intervals_of_means_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = guesses(100)
    monkeypatch.setattr(intervals, "MOST_PROBABILITIES", 100 * CLASSES - 1)
    metrics = make_metrics(settings_of("balanced"), CLASSES)
    assert set(intervals_of_test(logits, labels, metrics, 0)) == {"test/loss", "test/acc"}


def test_one_image_has_an_interval_without_width() -> None:
    found = intervals_of_test(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), {}, 0)
    assert found["test/acc"] == (1.0, 1.0)


def test_a_metric_without_a_value_has_no_interval() -> None:
    logits = torch.tensor([[2.0, 0.0], [math.nan, 0.0]])
    assert set(intervals_of_test(logits[1:], torch.tensor([0]), {}, 0)) == {"test/acc"}


def test_more_images_than_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = guesses(50)
    monkeypatch.setattr(intervals, "BLOCK", 10)
    low, high = intervals_of_test(logits, labels, {}, 0)["test/acc"]
    assert 0 < low < high < 1
