"""Draw pictures of a data set: the number of images of each class, and the sizes of images."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from tunebook.data.audit import Audit
from tunebook.report.pictures.axes import log_scale
from tunebook.report.pictures.style import (
    BLUE,
    FULL_WIDTH,
    GREEN,
    MAX_TITLE,
    ORANGE,
    STYLE,
    Picture,
    axes_of,
    legend_below,
)
from tunebook.text_output import clipped

MAX_BARS = 40  # classes; more are drawn as one line
COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}
HATCHES = {"train": "", "val": "//", "test": ".."}
SPREAD = 20  # ratio of the largest to the smallest side for which the axis is logarithmic
BINS = 30


def pictures_of_data(audit: Audit) -> Iterator[Picture]:
    """Yield every picture for which there is something to draw."""
    with mpl.rc_context(STYLE):
        if audit.counts.sum():
            yield (_bars if len(audit.counts) <= MAX_BARS else _by_rank)(audit)
            if audit.sizes() > 1:
                yield _sizes(audit)


def _bars(audit: Audit) -> Picture:
    """Draw a bar for each class, with a part for each split."""
    classes = len(audit.counts)
    figure, axes = axes_of(1.0 + 0.24 * classes, FULL_WIDTH)
    places, left = np.arange(classes), np.zeros(classes)
    for column, split in enumerate(audit.splits):
        counts = audit.counts[:, column]
        axes.barh(
            places, counts, left=left, label=split, color=COLOURS.get(split, BLUE),
            hatch=HATCHES.get(split, ""), edgecolor="white", linewidth=0,
        )  # fmt: skip
        left += counts
    names = [clipped(name, MAX_TITLE // 2) for name in audit.listing.class_names]
    axes.set_yticks(places, names)
    axes.set_ylim(classes - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("images")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(audit.splits) > 1:
        legend_below(figure)
    return Picture("classes", "Images of each class", "Without unreadable ones.", figure, True)


def _by_rank(audit: Audit) -> Picture:
    """Draw the numbers of images of very many classes as one line for each split."""
    figure, axes = axes_of(3.5, FULL_WIDTH)
    order = np.argsort(-audit.counts.sum(axis=1), kind="stable")
    for column, split in enumerate(audit.splits):
        axes.plot(
            np.arange(1, len(order) + 1), audit.counts[order, column], drawstyle="steps-mid",
            label=split, color=COLOURS.get(split, BLUE),
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlabel("classes, the largest first")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(audit.splits) > 1:
        legend_below(figure)
    return Picture("classes", "Images of each class", "Without unreadable ones.", figure, True)


def _sizes(audit: Audit) -> Picture:
    """Draw how many images have which width and which height."""
    figure, axes = axes_of(3.2, FULL_WIDTH)
    used = audit.split_of >= 0
    widths, heights = audit.inspection.widths[used], audit.inspection.heights[used]
    low, high = min(widths.min(), heights.min()), max(widths.max(), heights.max())
    is_wide = high > SPREAD * low
    edges = np.geomspace(low, high + 1, BINS) if is_wide else np.linspace(low, high + 1, BINS)
    for values, name, colour, line in (
        (widths, "width", BLUE, "-"), (heights, "height", ORANGE, "--"),
    ):  # fmt: skip
        axes.hist(
            values,
            list(edges),
            histtype="step",
            label=name,
            color=colour,
            linestyle=line,
            linewidth=1.6,
        )
    if is_wide:
        axes.set_xlim(edges[0] / 1.1, edges[-1] * 1.1)
        log_scale(axes, "x")
    axes.set_xlabel("pixels")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure)
    return Picture("sizes", "Sizes", f"{audit.sizes():,} different sizes.", figure, True)
