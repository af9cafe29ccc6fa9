"""Pictures show images as they are: grey ones with black as black, others in color."""

import io

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from tunebook.tracking.pictures import augmented_images, confusion_matrix, worst_images

NAMES = ("cat", "dog", "owl")


def drawn(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return the figure's pixels (H, W, 3)."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return np.asarray(Image.open(file).convert("RGB"))


def share_of(color: tuple[int, int, int], pixels: npt.NDArray[np.uint8]) -> float:
    return float((np.abs(pixels.astype(int) - color).max(axis=2) < 8).mean())


def test_a_black_image_is_black_and_a_white_one_white() -> None:
    labels, logits = torch.zeros(6, dtype=torch.int64), torch.eye(3)[torch.zeros(6).long()]
    black = worst_images(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), labels, logits, NAMES)
    white = worst_images(torch.full((6, 1, 8, 8), 255, dtype=torch.uint8), labels, logits, NAMES)
    assert share_of((0, 0, 0), drawn(black)) > 0.5
    assert share_of((0, 0, 0), drawn(white)) < 0.1


def test_augmented_images_are_in_color() -> None:
    images = torch.zeros(6, 3, 8, 8)
    images[:, 0] = 1
    images[:, 1] = 0.5
    orange = drawn(augmented_images(images, torch.arange(6) % 3, NAMES))
    assert share_of((255, 128, 0), orange) > 0.5


def test_a_mixed_label_is_named_with_its_shares() -> None:
    labels = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    figure = augmented_images(torch.rand(2, 1, 8, 8), labels, NAMES)
    assert [text.get_text() for text in figure.axes[0].texts] == ["dog 0.75\ncat 0.25", "owl"]


def test_images_are_in_rows_and_keep_their_aspect_ratio() -> None:
    images = torch.full((8, 3, 10, 20), 0.0)
    images[6] = 1.0  # the first of the second row
    axes = augmented_images(images, torch.zeros(8, dtype=torch.long), NAMES).axes[0]
    extents = [image.get_extent() for image in axes.images]
    lefts = [left for left, _, _, _ in extents]
    assert lefts[:6] == sorted(set(lefts))
    assert lefts[6:] == lefts[:2]
    assert all(
        bottom < top
        for (_, _, bottom, _), (_, _, _, top) in zip(extents[:2], extents[6:], strict=True)
    )
    for left, right, bottom, top in extents:
        assert (right - left) / (bottom - top) == pytest.approx(2)


def test_a_class_is_named_as_it_is_and_not_as_a_formula() -> None:
    names = ["$\\nosuch$", "$x", "_y^"]
    logits, labels = torch.eye(3), torch.tensor([1, 0, 2])
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    drawn(worst_images(images, labels, logits, names))
    drawn(confusion_matrix(labels, logits.argmax(1), names))
