"""Pictures show images as they are: grey ones with black as black, others in color."""

import io

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from PIL import Image

from tunebook.tracking.pictures import augmented_images, worst_images

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
    assert [axes.get_title() for axes in figure.axes[:2]] == ["dog 0.75\ncat 0.25", "owl"]
