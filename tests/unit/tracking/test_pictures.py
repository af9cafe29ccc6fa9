"""Pictures show images as they are: grey ones with black as black, others in color."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from tunebook.tracking.pictures import (
    CELL_WIDTH,
    TITLE_HEIGHT,
    augmented_images,
    confusion_matrix,
    label_text,
    worst_images,
)

NAMES = ("cat", "dog", "owl")


def pixels_of(picture: Image.Image) -> npt.NDArray[np.int64]:
    """Return a picture's pixels (H, W, 3)."""
    return np.asarray(picture.convert("RGB")).astype(np.int64)


def share_of(color: tuple[int, int, int], pixels: npt.NDArray[np.int64]) -> float:
    return float((np.abs(pixels - color).max(axis=2) < 8).mean())


def test_a_black_image_is_black_and_a_white_one_white() -> None:
    labels, logits = torch.zeros(6, dtype=torch.int64), torch.eye(3)[torch.zeros(6).long()]
    black = worst_images(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), labels, logits, NAMES)
    white = worst_images(torch.full((6, 1, 8, 8), 255, dtype=torch.uint8), labels, logits, NAMES)
    assert share_of((0, 0, 0), pixels_of(black)) > 0.5
    assert share_of((0, 0, 0), pixels_of(white)) < 0.1


def test_augmented_images_are_in_color() -> None:
    images = torch.zeros(6, 3, 8, 8)
    images[:, 0] = 1
    images[:, 1] = 0.5
    orange = pixels_of(augmented_images(images, torch.arange(6) % 3, NAMES))
    assert share_of((255, 128, 0), orange) > 0.5


def test_a_mixed_label_is_named_with_its_shares() -> None:
    labels = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    texts = [label_text(label, NAMES) for label in labels]
    assert texts == ["dog 0.75\ncat 0.25", "owl"]


def test_text_is_above_each_image() -> None:
    """Where there is text, there are dark pixels; the images are white, as the page."""
    images = torch.ones(2, 1, 8, 8)
    named = pixels_of(augmented_images(images, torch.tensor([0, 1]), ("cat", " ")))
    row = named[TITLE_HEIGHT:]
    assert row[:, :CELL_WIDTH].min() < 100
    assert row[:, CELL_WIDTH:].min() == 255


def test_images_are_in_rows_and_keep_their_aspect_ratio() -> None:
    images = torch.ones(8, 3, 10, 20)  # white, as the page
    images[0, 1:] = 0  # red, the first
    images[6, :2] = 0  # blue, the first of the second row
    pixels = pixels_of(augmented_images(images, torch.zeros(8, dtype=torch.long), NAMES))
    boxes = []
    for color in ((255, 0, 0), (0, 0, 255)):
        rows, columns = np.nonzero(np.abs(pixels - color).max(axis=2) < 8)
        boxes.append((rows.min(), rows.max() + 1, columns.min(), columns.max() + 1))
    (top, bottom, left, right), (lower, _, of_lower, _) = boxes
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.02)
    assert lower > bottom
    assert of_lower == left


def test_a_class_is_named_as_it_is_and_not_as_a_formula() -> None:
    names = ["$\\nosuch$", "$x", "_y^"]
    logits, labels = torch.eye(3), torch.tensor([1, 0, 2])
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    worst_images(images, labels, logits, names)
    FigureCanvasAgg(confusion_matrix(labels, logits.argmax(1), names)).draw()
