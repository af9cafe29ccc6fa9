"""Make small images and sheets of them, to show what is in a data set.

The images are not trusted: what `tunebook.data.decoding` refuses is refused here as well. This
module does not import torch.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from tunebook.config.validation import InputError
from tunebook.data.decoding import decode_small
from tunebook.data.inspection import Inspection
from tunebook.data.listing import Listing

Read = Callable[[int], bytes]  # returns the bytes of the image at a position; may raise InputError
GAP = 4  # pixels between the images of a sheet
BACKGROUND = (128, 128, 128)
COLUMNS = 8


def thumbnail(data: bytes, side: int) -> Image.Image:
    """Return an image (RGB) that fits into `side` x `side` pixels and touches two of its edges.

    A much smaller image is enlarged by a whole number, with sharp pixels. Raises InputError if it
    can't be decoded.
    """
    with warnings.catch_warnings(action="ignore"):  # Pillow's
        image = decode_small(data, side)
    largest = max(image.size)
    if largest <= side:
        factor = side // largest
        return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    scale = side / largest
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def contact_sheets(
    listing: Listing,
    inspection: Inspection,
    read: Read,
    classes: Sequence[int],
    images: int = 24,
    side: int = 96,
) -> Iterator[tuple[int, Image.Image]]:
    """Yield (class, sheet) for each of the classes that has an image.

    A sheet (RGB) is a grid of `images` images of the class at most, chosen evenly from the first to
    the last. Only these are decoded. One that can't be decoded is left out.
    side: of the square in which each image is, in pixels.
    """
    for label, positions in chosen_images(listing, inspection, classes, images).items():
        found = []
        for position in positions:
            try:
                found.append(thumbnail(read(position), side))
            except InputError:
                continue
        if found:
            yield label, sheet(found, side)


def chosen_images(
    listing: Listing, inspection: Inspection, classes: Sequence[int], images: int
) -> Mapping[int, Sequence[int]]:
    """Return the positions of the images on each class's sheet."""
    usable = np.ones(len(listing.paths), dtype=bool)
    usable[list(inspection.problems)] = False
    order = np.argsort(listing.labels, kind="stable")
    order = order[usable[order]]
    starts = np.searchsorted(listing.labels[order], np.arange(len(listing.class_names) + 1))
    return {
        label: evenly(order[starts[label] : starts[label + 1]], images)
        for label in classes
        if starts[label] < starts[label + 1]
    }


def evenly(values: npt.NDArray[np.int64], count: int) -> list[int]:
    """Return at most `count` of the values, evenly spaced, with the first and the last."""
    places = np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int))
    return [int(value) for value in values[places]]


def sheet(images: Sequence[Image.Image], side: int, columns: int = COLUMNS) -> Image.Image:
    """Return images in a grid, each in the middle of a square of `side` x `side` pixels."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    step = side + GAP
    found = Image.new("RGB", (columns * step - GAP, rows * step - GAP), BACKGROUND)
    for place, image in enumerate(images):
        left = place % columns * step + (side - image.width) // 2
        top = place // columns * step + (side - image.height) // 2
        found.paste(image, (left, top))
    return found


def classes_to_show(sizes: Sequence[int], most: int) -> list[int]:
    """Return the positions of at most `most` classes: all, or the first, largest and smallest.

    sizes: the number of images of each class.
    """
    if len(sizes) <= most:
        return list(range(len(sizes)))
    by_size = np.argsort(np.asarray(sizes), kind="stable")
    third = most // 3
    chosen = {*range(most - 2 * third), *by_size[:third].tolist(), *by_size[-third:].tolist()}
    rest = [label for label in range(len(sizes)) if label not in chosen]
    return sorted([*chosen, *rest[: most - len(chosen)]])
