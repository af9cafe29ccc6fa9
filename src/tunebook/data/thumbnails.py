"""Decode images at a small size, to compare them and to show them.

The images are not trusted: what `tunebook.data.decoding` refuses is refused here as well. This
module does not import torch.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tunebook.config.validation import InputError
from tunebook.data.decoding import FORMATS, MAX_PIXELS, in_8_bits
from tunebook.data.inspection import Inspection
from tunebook.data.listing import Listing
from tunebook.text_output import printable

Read = Callable[[int], bytes]  # returns the bytes of the image at a position; may raise InputError
GAP = 4  # pixels between the images of a sheet
BACKGROUND = (128, 128, 128)
COLUMNS = 8
DRAFT = 2  # a JPEG file is decoded at a size of at least this times what is needed


def decode_small(data: bytes, side: int) -> Image.Image:
    """Return an image (RGB) of at least `side` x `side` pixels, or its own size if that is less.

    It is as the image is shown: rotated as its EXIF data say, and the first frame of an animation.
    Large JPEG files are decoded at a fraction of their size, which is several times faster.
    Raises InputError if it can't be decoded; its text is only the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise InputError(f"has {opened.width} x {opened.height} pixels")
                opened.draft(None, (DRAFT * side, DRAFT * side))
                return in_8_bits(ImageOps.exif_transpose(opened)).convert("RGB")
    except InputError:
        raise
    except Exception as error:  # decoders may raise anything on a malformed file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"can't be read as an image ({printable(reason)[:200]})") from None


def thumbnail(data: bytes, side: int) -> Image.Image:
    """Return an image (RGB) that fits into `side` x `side` pixels and touches two of its edges.

    A much smaller image is enlarged by a whole number, with sharp pixels. Raises InputError if it
    can't be decoded.
    """
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
