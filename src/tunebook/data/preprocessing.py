"""Turn images into the input of a network, in one way for training, prediction and export."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tunebook.data.decoding import read_image, resized

Pixels = npt.NDArray[np.uint8]  # an image (H, W, C), from 0 to 255


@dataclass(frozen=True)
class Preprocessing:
    """Decode, resize and scale images for a network that takes them in [0, 1].

    A data set's images have the right size when they are loaded, and are only scaled. Those of
    other files are decoded and resized first.
    image_shape: (C, H, W), the network's input.
    """

    image_shape: tuple[int, int, int]

    def read(self, path: Path) -> Pixels:
        """Return the image in a file; raise InputError if it can't be read."""
        return read_image(path, self.image_shape)

    def resize(self, image: Image.Image) -> Pixels:
        """Return an image of PIL in the size and the colours that the network needs.

        Raises InputError for an image that is too large or of unknown brightness.
        """
        return resized(image, self.image_shape)

    def batch(self, images: Sequence[Pixels]) -> Tensor:
        """Return images of the right size as a tensor uint8 (B, C, H, W)."""
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def scale(self, images: Tensor) -> Tensor:
        """Return images uint8 (B, C, H, W) as float32 in [0, 1], on the same device."""
        return images.to(torch.float32).div_(255)
