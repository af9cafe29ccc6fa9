"""Turn images into the input of a network, in one way for training, prediction and export."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from tunebook.data.decoding import decode, pixels_of, read_file

Pixels = npt.NDArray[np.uint8]  # an image (H, W, C), from 0 to 255
Resize = Literal["squash", "crop", "pad"]
FITTED_AT_ONCE = 1024  # images, so that intermediate results stay small
LUMA = (19595, 38470, 7471)  # the shares of red, green and blue in grey, in 65,536ths (ITU-R 601)
# Of ImageNet's training images in [0, 1], as torchvision's pretrained networks expect them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Decode, resize, scale and normalize images for a network.

    image_shape: (C, H, W), the network's input. resize: what happens to an image whose sides are
    in another ratio. It is stretched ("squash"), cut at its centre ("crop"), or gets a black border
    ("pad"). mean, std: of each channel, which are subtracted and divided by; None changes nothing.
    """

    image_shape: tuple[int, int, int]
    resize: Resize = "squash"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def read(self, path: Path) -> Pixels:
        """Return the image in a file in the network's size, or raise InputError."""
        return self.decode(read_file(path))

    def decode(self, data: bytes) -> Pixels:
        """Return the image in the bytes of a file, in the network's size.

        Raises InputError if it can't be read.
        """
        return self._fit_one(decode(data, self.image_shape[0]))

    def fit_image(self, image: Image.Image) -> Pixels:
        """Return an image of PIL in the size and the colours that the network needs.

        Raises InputError for an image that is too large or of unknown brightness.
        """
        return self._fit_one(pixels_of(image, self.image_shape[0]))

    def _fit_one(self, pixels: Pixels) -> Pixels:
        if pixels.shape[:2] == self.image_shape[1:]:
            return pixels
        fitted = self.fit(torch.from_numpy(pixels.copy()).permute(2, 0, 1).unsqueeze(0))
        return fitted.squeeze(0).permute(1, 2, 0).contiguous().numpy()

    def fit(self, images: Tensor) -> Tensor:
        """Return images uint8 (B, C, H, W) of any size in the network's size and colours."""
        images = _with_channels(images, self.image_shape[0])
        if images.shape[-2:] == self.image_shape[1:]:
            return images
        return torch.cat([self.fit_any(part) for part in torch.split(images, FITTED_AT_ONCE)])

    def fit_any(self, images: Tensor) -> Tensor:
        """Resize images uint8 (B, C, H, W) to the network's size.

        The same operations are done for every size, so that they can be exported. They do not
        change images that already have the size.
        """
        height, width = self.image_shape[1:]
        if self.resize == "crop":
            images = _crop(images, height, width)
        elif self.resize == "pad":
            images = _pad(images, height, width)
        # Channels last, for which torch resizes bytes several times faster.
        images = images.contiguous(memory_format=torch.channels_last)
        return interpolate(images, (height, width), mode="bilinear", antialias=True)

    def batch(self, images: Sequence[Pixels]) -> Tensor:
        """Return images of the network's size as a tensor uint8 (B, C, H, W)."""
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def scale(self, images: Tensor) -> Tensor:
        """Return images uint8 (B, C, H, W) as float32 in [0, 1], on the same device."""
        return images.to(torch.float32).div_(255)

    def normalize(self, images: Tensor) -> Tensor:
        """Return images float32 (B, C, H, W) in [0, 1], with the mean and deviation of the data."""
        if self.mean is None or self.std is None:
            return images
        mean, std = (
            torch.tensor(values, dtype=torch.float32).view(-1, 1, 1).to(images.device)
            for values in (self.mean, self.std)
        )
        return (images - mean) / std


class NetworkForPixels(nn.Module):
    """Preprocess images of any size and compute a network's logits, to be exported as one."""

    def __init__(self, preprocessing: Preprocessing, network: nn.Module) -> None:
        super().__init__()
        self.preprocessing, self.network = preprocessing, network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images uint8 (B, H, W, C)."""
        images = self.preprocessing.fit_any(pixels.permute(0, 3, 1, 2))
        images = self.preprocessing.normalize(self.preprocessing.scale(images))
        logits: Tensor = self.network(images)
        return logits


def _with_channels(images: Tensor, channels: int) -> Tensor:
    """Return images uint8 (B, C, H, W) with 1 or 3 channels, converted as PIL does."""
    if images.shape[1] == channels:
        return images
    if channels == 1:
        weights = torch.tensor(LUMA, dtype=torch.int32).view(-1, 1, 1)
        grey = (images.to(torch.int32) * weights).sum(1, keepdim=True)
        return ((grey + 0x8000) >> 16).to(torch.uint8)
    return images.expand(-1, channels, -1, -1)


def _crop(images: Tensor, height: int, width: int) -> Tensor:
    """Cut off what is too much of one side, so that the sides have the ratio height : width."""
    h, w = images.shape[-2:]
    kept_h, kept_w = min(h, max(1, w * height // width)), min(w, max(1, h * width // height))
    # Copied by index: a view's strides would depend on the size, and could not be exported.
    rows = torch.arange(kept_h, device=images.device) + (h - kept_h) // 2
    columns = torch.arange(kept_w, device=images.device) + (w - kept_w) // 2
    return images.index_select(-2, rows).index_select(-1, columns)


def _pad(images: Tensor, height: int, width: int) -> Tensor:
    """Add black to both ends of one side, so that the sides have the ratio height : width."""
    h, w = images.shape[-2:]
    more_h, more_w = max(h, -(-w * height // width)) - h, max(w, -(-h * width // height)) - w
    top, left = more_h // 2, more_w // 2
    return pad(images, (left, more_w - left, top, more_h - top))


def mean_and_std(
    batches: Iterable[Tensor],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel of images in [0, 1].

    batches: uint8 (B, C, H, W). The sums are of integers, so that their order does not matter. A
    deviation is at least 1/255, since images of one colour have none.
    """
    count, total, squares = (
        0,
        torch.zeros((), dtype=torch.int64),
        torch.zeros((), dtype=torch.int64),
    )
    for batch in batches:
        values = batch.to(torch.int64)
        count += values.numel() // values.shape[1]
        total = total + values.sum(dim=(0, 2, 3))
        squares = squares + values.square().sum(dim=(0, 2, 3))
    mean = total.double() / count
    std = (squares.double() / count - mean.square()).clamp(min=1).sqrt()
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
