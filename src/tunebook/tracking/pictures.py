"""Draw the pictures of a run: confusion matrix, learning curves, worst-classified images.

A batch of augmented images is drawn as well.

Figures are matplotlib objects made without pyplot, so they need no window system or global state.
Images with text above them are drawn by Pillow.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, get_data_path
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling
from torch import Tensor

from tunebook.metrics.facts import (
    LOSS,
    TRAIN,
    VALIDATION,
    facts_of,
    full_name,
    short_name,
    split_of,
)

WORST = AUGMENTED = 24  # images in a grid
COLUMNS = 6  # of a grid
# Pixels of a grid. Above each image is room for three lines of text.
CELL_WIDTH, CELL_HEIGHT, SIDE, TITLE_HEIGHT, TITLE_GAP, TEXT_GAP = 200, 240, 185, 60, 20, 6
TITLE_SIZE, TEXT_SIZE = 16.5, 12.5  # of the letters, in pixels
HEAT = 0.5  # the opacity of colors over an image
LABELS_AT_MOST = 40  # classes; more would not be legible


def confusion_matrix(labels: Tensor, predictions: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw the confusion matrix: a row per true class, a column per predicted class.

    Each cell shows its number of images.
    labels, predictions: int64 (N,).
    """
    classes = len(class_names)
    counts = (
        (labels * classes + predictions)
        .bincount(minlength=classes**2)
        .reshape(classes, classes)
        .numpy()
    )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(
        figsize=(2.5 + 0.5 * min(classes, LABELS_AT_MOST), 2 + 0.5 * min(classes, LABELS_AT_MOST)),
        layout="constrained",
    )
    axes = figure.subplots()
    # The square root makes the few errors visible next to a diagonal that is close to 1.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    if classes <= LABELS_AT_MOST:
        for row, column in np.argwhere(counts):
            ink = "white" if share[row, column] > 0.3 else "black"
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                color=ink,
                fontsize=8,
            )
        # A name may have a $, which would start a formula.
        axes.set_xticks(range(classes), class_names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(classes), class_names, parse_math=False)
    correct = np.trace(counts) / max(counts.sum(), 1)
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"test: {counts.sum()} images, {correct:.2%} correct",
    )
    return figure


def learning_curves(
    history: Sequence[dict[str, float]], validation: str, another_loss: bool = False
) -> Figure:
    """Plot each metric by epoch.

    history: one dict per epoch.
    validation: the label of the second curve, which says what data it was measured on.
    another_loss: whether training minimized another loss than validation reports.
    """
    epochs = [epoch["epoch"] for epoch in history]
    known = set.intersection(*map(set, history))  # in a resumed run, metrics may have been added
    metrics = [short_name(name) for name in history[-1] if split_of(name) == VALIDATION]
    metrics = [metric for metric in metrics if full_name(VALIDATION, metric) in known]
    width = 5 * len(metrics)
    figure = Figure(figsize=(width, 4))
    # To let matplotlib compute the margins would take as long as to draw the curves.
    margins = {"left": 0.8 / width, "right": 1 - 0.15 / width, "bottom": 0.13, "top": 0.96}
    all_axes = figure.subplots(1, len(metrics), gridspec_kw={**margins, "wspace": 0.22})
    for axes, metric in zip(all_axes, metrics, strict=True):
        is_another = another_loss and metric == LOSS
        trained = "train: the loss that it minimizes" if is_another else "train (dropout on)"
        for split, label in ((TRAIN, trained), (VALIDATION, validation)):
            name = full_name(split, metric)
            if name in known:
                values = [epoch[name] for epoch in history]
                axes.plot(epochs, values, marker=".", label=label)
        axes.set(xlabel="epoch", ylabel=facts_of(metric).title or metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
        if facts_of(metric).in_percent:
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    return figure


def find_worst(labels: Tensor, logits: Tensor) -> Tensor:
    """Return the positions of the images with the highest loss, worst first."""
    of_truth = logits.softmax(dim=1)[range(len(labels)), labels]
    return of_truth.argsort()[:WORST]


def worst_images(
    images: Tensor, labels: Tensor, logits: Tensor, class_names: Sequence[str]
) -> Image.Image:
    """Draw images with their true and their predicted class (0 is black).

    images: uint8 (N, C, H, W); labels: int64 (N,); logits: (N, num_classes).
    """
    title = "test images with the highest loss: true > predicted (its probability)"
    return predicted_images(title, images, labels, logits, class_names)


def predicted_images(
    title: str,
    images: Tensor,
    labels: Tensor,
    logits: Tensor,
    class_names: Sequence[str],
    heat: Tensor | None = None,
) -> Image.Image:
    """Draw images like `worst_images`, under another title.

    heat: colors over the images, (N, H, W) in [0, 1].
    """
    probabilities = logits.softmax(dim=1)
    grid = ImageGrid(len(images), title)
    for place, image in enumerate(images):
        guess, true = int(probabilities[place].argmax()), int(labels[place])
        probability = float(probabilities[place, guess])
        text = f"{class_names[true]} > {class_names[guess]} ({probability:.2f})"
        grid.draw(place, image.float() / 255, None if heat is None else heat[place])
        grid.write(place, text, color="black" if guess == true else "firebrick")
    return grid.picture


def augmented_images(images: Tensor, labels: Tensor, class_names: Sequence[str]) -> Image.Image:
    """Draw training images with their labels, as they are before normalization.

    images: float (N, C, H, W) in [0, 1]. labels: int64 (N,), or the probability of each class
    (N, num_classes) where images are mixed.
    """
    grid = ImageGrid(len(images), "training images of the first epoch, augmented")
    for place, (image, label) in enumerate(zip(images, labels, strict=False)):
        grid.draw(place, image)
        grid.write(place, label_text(label, class_names))
    return grid.picture


def label_text(label: Tensor, class_names: Sequence[str]) -> str:
    """Return the name of a class, or the names of the mixed ones with their shares."""
    if label.ndim == 0:
        return class_names[int(label)]
    shares, classes = label.sort(descending=True)
    if shares[0] > 0.995:
        return class_names[int(classes[0])]
    named = zip(shares.tolist(), classes.tolist(), strict=True)
    return "\n".join(f"{class_names[one]} {share:.2f}" for share, one in named if share >= 0.005)


class ImageGrid:
    """Draw images in rows of `COLUMNS`, from the left and from the top, each with text above it.

    Pillow draws them, which takes a third of matplotlib's time. Places are counted from 0.
    """

    def __init__(self, count: int, title: str) -> None:
        rows = -(-count // COLUMNS)
        width, height = CELL_WIDTH * COLUMNS, CELL_HEIGHT * rows + TITLE_HEIGHT
        self.picture = Image.new("RGB", (width, height), "white")
        self._pen = ImageDraw.Draw(self.picture)
        self._pen.text((width / 2, TITLE_GAP), title, "black", font(TITLE_SIZE), anchor="ma")

    def draw(self, place: int, image: Tensor, heat: Tensor | None = None) -> None:
        """Draw an image (C, H, W) in [0, 1], in which 0 is black.

        heat: colors over the image, (H, W) in [0, 1].
        """
        pixels = image.clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()
        if heat is not None:
            pixels = (1 - HEAT) * pixels + HEAT * colormaps["jet"](heat.numpy())[..., :3]
        drawn = Image.fromarray((pixels * 255).round().astype(np.uint8))
        size = SIDE / max(drawn.size)
        width, height = (max(1, round(size * side)) for side in drawn.size)
        drawn = drawn.resize(
            (width, height), Resampling.NEAREST if size > 1 else Resampling.LANCZOS
        )
        left, top = self._corner(place)
        self.picture.paste(drawn, (left + (SIDE - width) // 2, top))

    def write(self, place: int, text: str, color: str = "black", centered: bool = True) -> None:
        """Write above an image, in its middle or from its left side on."""
        left, top = self._corner(place)
        where = (left + SIDE / 2, top - TEXT_GAP) if centered else (left, top - TEXT_GAP)
        anchor, align = ("md", "center") if centered else ("ld", "left")
        self._pen.multiline_text(where, text, color, font(TEXT_SIZE), anchor=anchor, align=align)

    def _corner(self, place: int) -> tuple[int, int]:
        """Return the pixels to the left of an image and above it."""
        row, column = divmod(place, COLUMNS)
        left = column * CELL_WIDTH + (CELL_WIDTH - SIDE) // 2
        return left, row * CELL_HEIGHT + TITLE_HEIGHT + TITLE_GAP


@functools.cache
def font(size: float) -> ImageFont.FreeTypeFont:
    """Return matplotlib's font in a size, in pixels."""
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
