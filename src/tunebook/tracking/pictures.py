"""Draw the pictures of a run: confusion matrix, learning curves, worst-classified images.

A batch of augmented images is drawn as well.

Figures are matplotlib objects made without pyplot, so they need no window system or global state.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
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
COLUMNS = 6
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
        axes.set_xticks(range(classes), class_names, rotation=45, ha="right")
        axes.set_yticks(range(classes), class_names)
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
    figure = Figure(figsize=(5 * len(metrics), 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics)), metrics, strict=True):
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
) -> Figure:
    """Draw images with their true and their predicted class (0 is black).

    images: uint8 (N, C, H, W); labels: int64 (N,); logits: (N, num_classes).
    """
    probabilities = logits.softmax(dim=1)
    title = "test images with the highest loss: true > predicted (its probability)"
    figure = _grid(len(images), title)
    for i, (axes, image) in enumerate(zip(figure.axes, images, strict=False)):
        guess = int(probabilities[i].argmax())
        draw_image(axes, image.float() / 255)
        wrong = guess != int(labels[i])
        title = (
            f"{class_names[int(labels[i])]} > {class_names[guess]} "
            f"({float(probabilities[i, guess]):.2f})"
        )
        axes.set_title(title, fontsize=9, color="firebrick" if wrong else "black")
    return figure


def augmented_images(images: Tensor, labels: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw training images with their labels, as they are before normalization.

    images: float (N, C, H, W) in [0, 1]. labels: int64 (N,), or the probability of each class
    (N, num_classes) where images are mixed.
    """
    figure = _grid(len(images), "training images of the first epoch, augmented")
    for axes, image, label in zip(figure.axes, images, labels, strict=False):
        draw_image(axes, image)
        axes.set_title(_label_text(label, class_names), fontsize=9)
    return figure


def _label_text(label: Tensor, class_names: Sequence[str]) -> str:
    """Return the name of a class, or the names of the mixed ones with their shares."""
    if label.ndim == 0:
        return class_names[int(label)]
    shares, classes = label.sort(descending=True)
    if shares[0] > 0.995:
        return class_names[int(classes[0])]
    named = zip(shares.tolist(), classes.tolist(), strict=True)
    return "\n".join(f"{class_names[one]} {share:.2f}" for share, one in named if share >= 0.005)


def _grid(count: int, title: str) -> Figure:
    """Return a figure with at least `count` places for images, which have no axes."""
    return image_grid(-(-count // COLUMNS), COLUMNS, title)


def image_grid(rows: int, columns: int, title: str) -> Figure:
    """Return a figure with places for images, each with a line of text above it, without axes.

    The margins are fixed, in inches: to compute them would take longer than to draw the images.
    """
    width, height = 2.0 * columns, 2.4 * rows + 0.6
    figure = Figure(figsize=(width, height))
    figure.suptitle(title, y=1 - 0.2 / height)
    margins = {
        "left": 0.05 / width,
        "right": 1 - 0.05 / width,
        "bottom": 0.1 / height,
        "top": 1 - 0.8 / height,
        "wspace": 0.05,
        "hspace": 0.25,
    }
    for axes in figure.subplots(rows, columns, squeeze=False, gridspec_kw=margins).flat:
        axes.axis("off")
    return figure


def draw_image(axes: Axes, image: Tensor) -> None:
    """Draw an image (C, H, W) in [0, 1], in which 0 is black."""
    picture = image.clamp(0, 1).permute(1, 2, 0).numpy()
    grey = picture.shape[-1] == 1
    axes.imshow(picture.squeeze(-1) if grey else picture, cmap="gray", vmin=0, vmax=1)
