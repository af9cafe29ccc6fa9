"""Photographs for tests: parts of two pictures that come with scikit-learn."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

CONTRAST = 20  # grey levels


@cache
def photographs() -> tuple[Image.Image, Image.Image]:
    """Return the two pictures, 640 x 427 pixels."""
    return (
        Image.fromarray(load_sample_image("china.jpg")),
        Image.fromarray(load_sample_image("flower.jpg")),
    )


def photos(kind: int, count: int, side: int = 64) -> Iterator[Image.Image]:
    """Yield different parts (RGB, `side` x `side`) of one of the pictures, none of them twice.

    Parts of one colour, such as of the sky, are left out.
    """
    picture = photographs()[kind]
    parts = [
        picture.crop((left, top, left + side, top + side))
        for top in range(0, picture.height - side, side)
        for left in range(0, picture.width - side, side)
    ]
    parts = [part for part in parts if np.asarray(part.convert("L")).std() > CONTRAST]
    for place in np.random.default_rng(kind).permutation(len(parts))[:count]:
        yield parts[place]
