"""Photographs for tests: parts of two pictures that come with scikit-learn."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image


@cache
def photographs() -> tuple[Image.Image, Image.Image]:
    """Return the two pictures, 640 x 427 pixels."""
    return (
        Image.fromarray(load_sample_image("china.jpg")),
        Image.fromarray(load_sample_image("flower.jpg")),
    )


def photos(kind: int, count: int, side: int = 64) -> Iterator[Image.Image]:
    """Yield different parts (RGB, `side` x `side`) of one of the pictures, none of them twice."""
    picture = photographs()[kind]
    places = [
        (left, top)
        for top in range(100, picture.height - side, side)
        for left in range(0, picture.width - side, side)
    ]
    for place in np.random.default_rng(kind).permutation(len(places))[:count]:
        left, top = places[place]
        yield picture.crop((left, top, left + side, top + side))
