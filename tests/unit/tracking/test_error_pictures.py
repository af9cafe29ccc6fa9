"""Pictures of errors show what the probabilities and the confused classes are."""

import io

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import binomtest

from tunebook.tracking import error_pictures

NAMES = ("cat", "dog", "$\\bird$")


def drawn(figure: Figure) -> np.ndarray:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file))


def logits_of(rows: list[list[float]]) -> torch.Tensor:
    """Return logits whose probabilities are these."""
    return torch.tensor(rows).log()


def test_the_curve_is_the_share_of_right_predictions() -> None:
    sure = [[0.9, 0.05, 0.05]] * 10
    unsure = [[0.45, 0.25, 0.3]] * 4
    labels = torch.tensor([0] * 8 + [1] * 2 + [0, 1, 2, 1])
    figure = error_pictures.calibration_curve(labels, logits_of(sure + unsure))
    curve, counts = figure.axes
    _, points = curve.lines[0], curve.containers[0].lines[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(points.get_xydata(), [[0.45, 0.25], [0.9, 0.8]], atol=1e-6)
    heights = [bar.get_height() for bar in counts.patches]  # type: ignore[attr-defined]
    assert sum(heights) == 14
    assert heights[4] == 4
    assert drawn(figure).std() > 0


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_are_those_of_scipy(counts: tuple[int, int]) -> None:
    right, n = counts
    expected = binomtest(right, n).proportion_ci(method="wilson")
    found = error_pictures._interval(np.arange(n) < right)
    np.testing.assert_allclose(found, (expected.low, expected.high), atol=1e-12)


def test_the_most_confused_classes_come_first_and_the_surest_errors_of_each() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    logits = logits_of(
        [[0.2, 0.6, 0.2], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.1, 0.2],
         [0.1, 0.1, 0.8]]
    )  # fmt: skip
    pairs = error_pictures.most_confused(labels, logits)
    assert [(true, guess, places.tolist()) for true, guess, places in pairs] == [
        (0, 1, [1, 0]), (2, 0, [4]),
    ]  # fmt: skip
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    picture = error_pictures.confused_classes(pairs, [images[p] for *_, p in pairs], NAMES)
    first, second, below = (np.asarray(picture)[top:] for top in (60, 300, 540))
    assert first[:240].std() > 10
    assert second[:240].std() > 10
    assert not len(below)  # a row for each pair


def test_a_test_without_errors_confuses_nothing() -> None:
    labels = torch.tensor([0, 1])
    assert error_pictures.most_confused(labels, torch.eye(3)[labels]) == []
    assert drawn(error_pictures.calibration_curve(labels, 9 * torch.eye(3)[labels])).std() > 0
