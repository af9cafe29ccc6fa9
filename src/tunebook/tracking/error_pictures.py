"""Draw pictures of a test's errors: the calibration of the probabilities, and confused classes.

Figures are matplotlib objects made without pyplot, so they need no window system or global state.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image
from torch import Tensor

from tunebook.tracking.pictures import COLUMNS, ImageGrid

BINS = 10  # of the highest probability, equally wide
PAIRS, EXAMPLES = 6, COLUMNS  # pairs of confused classes, and images of each


def calibration_curve(labels: Tensor, logits: Tensor) -> Figure:
    """Draw how often predictions of a probability are right, with 95 % intervals (Wilson 1927).

    Below, the number of images for each probability. labels: int64 (N,); logits: (N, num_classes).
    """
    probability, guess = (part.numpy() for part in logits.double().softmax(dim=1).max(dim=1))
    right = guess == labels.numpy()
    place = np.clip((probability * BINS).astype(int), 0, BINS - 1)
    figure = Figure(figsize=(5, 5.5))
    margins = {"left": 0.16, "right": 0.96, "bottom": 0.09, "top": 0.94, "hspace": 0.08}
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), gridspec_kw=margins)
    curve.plot([0, 1], [0, 1], color="grey", linewidth=1, label="probability and share are equal")
    drawn = [place == number for number in range(BINS) if (place == number).any()]
    means = np.array([probability[one].mean() for one in drawn])
    shares = np.array([right[one].mean() for one in drawn])
    limits = np.array([_interval(right[one]) for one in drawn])
    errors = np.abs(limits.T - shares)
    curve.errorbar(means, shares, yerr=errors, marker="o", capsize=3, label="test images")
    curve.set(ylabel="share that is right", ylim=(-0.02, 1.02), title="test: calibration")
    curve.legend(loc="upper left")
    curve.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    counts.bar((np.arange(BINS) + 0.5) / BINS, np.bincount(place, minlength=BINS), width=1 / BINS)
    counts.set(xlabel="probability of the predicted class", ylabel="images", xlim=(0, 1))
    for axes in (curve, counts):
        axes.grid(alpha=0.3)
    return figure


def _interval(right: np.ndarray) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share of True.

    scipy.stats has it too, but takes half a second to import in each run.
    """
    n, share, z = len(right), float(right.mean()), NormalDist().inv_cdf(0.975)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def most_confused(labels: Tensor, logits: Tensor) -> list[tuple[int, int, Tensor]]:
    """Return the pairs of classes that are confused most often, with the positions of the images.

    Each is (true class, predicted class, positions int64), the pair with most images first and the
    image with the highest probability of the wrong class first.
    """
    probabilities = logits.softmax(dim=1)
    guess = probabilities.argmax(dim=1)
    wrong = (guess != labels).nonzero().flatten()
    wrong_pairs = zip(labels[wrong].tolist(), guess[wrong].tolist(), strict=True)
    found: list[tuple[int, int, Tensor]] = []
    for (true, predicted), _ in Counter(sorted(wrong_pairs)).most_common(PAIRS):
        positions = wrong[(labels[wrong] == true) & (guess[wrong] == predicted)]
        by_probability = probabilities[positions, predicted].argsort(descending=True, stable=True)
        found.append((true, predicted, positions[by_probability]))
    return found


def confused_classes(
    pairs: Sequence[tuple[int, int, Tensor]], images: Sequence[Tensor], names: Sequence[str]
) -> Image.Image:
    """Draw a row of examples for each pair of `most_confused`.

    images: for each pair, the first images uint8 (n, C, H, W) of its positions.
    """
    title = "test images of the classes that are confused most often: true > predicted"
    grid = ImageGrid(len(pairs) * COLUMNS, title)
    for row, ((true, predicted, places), shown) in enumerate(zip(pairs, images, strict=True)):
        text = f"{names[true]} > {names[predicted]}: {len(places)}"
        grid.write(row * COLUMNS, text, centered=False)
        for column, image in enumerate(shown):
            grid.draw(row * COLUMNS + column, image.float() / 255)
    return grid.picture
