"""Flip images, or change a random rectangle of each: crop it or erase it."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import Fraction, SettingError, validate_args
from tunebook.data.augmentation.operations import resample
from tunebook.randomness import uniform

Area = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]  # as a fraction of the image's
Ratio = Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]  # width / height
TRIES = 10  # rectangles that are drawn until one fits into the image, as in torchvision


class Flip(nn.Module):
    """Mirror images horizontally.

    probability: of a flip, for each image.
    """

    @validate_args
    def __init__(self, probability: Fraction) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the images (B, C, H, W), some of them mirrored."""
        chosen = uniform(key, index, 1) < self.probability
        return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


class RandomResizedCrop(nn.Module):
    """Cut a random rectangle out of each image and enlarge it to the image's size.

    This is the augmentation of Szegedy et al. 2015 ("Going deeper with convolutions").
    scale_min, scale_max: the rectangle's area as a fraction of the image's, drawn uniformly.
    ratio_min, ratio_max: its width divided by its height, drawn uniformly on a logarithmic scale.
    """

    @validate_args
    def __init__(
        self, scale_min: Area, scale_max: Area, ratio_min: Ratio, ratio_max: Ratio
    ) -> None:
        super().__init__()
        self.rectangles = _Rectangles(scale_min, scale_max, ratio_min, ratio_max)

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the crops in the size of the images (B, C, H, W), interpolated bilinearly."""
        height, width = images.shape[-2:]
        u = uniform(key, index, 2 + self.rectangles.columns)
        heights, widths, _ = self.rectangles.draw(u[:, 2:], height, width)
        heights, widths = heights.clamp(max=height), widths.clamp(max=width)
        top, left = u[:, 0] * (height - heights), u[:, 1] * (width - widths)
        zero = torch.zeros_like(top)
        # In these coordinates an image reaches from -1 to 1.
        across = torch.stack([widths / width, zero, (2 * left + widths) / width - 1], dim=1)
        down = torch.stack([zero, heights / height, (2 * top + heights) / height - 1], dim=1)
        return resample(images, torch.stack([across, down], dim=1), outside="border")


class RandomErasing(nn.Module):
    """Fill a random rectangle of each image with one brightness (Zhong et al. 2020).

    probability: of an erased rectangle, for each image. scale_min, scale_max: the rectangle's area
    as a fraction of the image's. ratio_min, ratio_max: its width divided by its height.
    value: the brightness of the rectangle, from 0 (black) to 1 (white).
    """

    @validate_args
    def __init__(
        self,
        probability: Fraction,
        scale_min: Area,
        scale_max: Area,
        ratio_min: Ratio,
        ratio_max: Ratio,
        value: Fraction,
    ) -> None:
        super().__init__()
        self.probability, self.value = probability, value
        self.rectangles = _Rectangles(scale_min, scale_max, ratio_min, ratio_max)

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the images (B, C, H, W), some of them with an erased rectangle."""
        height, width = images.shape[-2:]
        u = uniform(key, index, 3 + self.rectangles.columns)
        heights, widths, fit = self.rectangles.draw(u[:, 3:], height, width)
        heights, widths = heights.round(), widths.round()
        top = (u[:, 0] * (height - heights + 1)).floor()
        left = (u[:, 1] * (width - widths + 1)).floor()
        erased = in_rectangle(top, top + heights, height).unsqueeze(2)
        erased = erased & in_rectangle(left, left + widths, width).unsqueeze(1)
        chosen = fit & (u[:, 2] < self.probability)
        return images.masked_fill((erased & chosen.view(-1, 1, 1)).unsqueeze(1), self.value)


def in_rectangle(start: Tensor, stop: Tensor, side: int) -> Tensor:
    """Return which of `side` positions are in [start, stop) of each image: bool (B, side).

    start, stop: (B,).
    """
    positions = torch.arange(side, device=start.device)
    return (positions >= start.unsqueeze(1)) & (positions < stop.unsqueeze(1))


class _Rectangles:
    """Draw the sides of rectangles within ranges of their area and of their ratio."""

    columns = 2 * TRIES  # random numbers for each image

    def __init__(
        self, scale_min: float, scale_max: float, ratio_min: float, ratio_max: float
    ) -> None:
        if scale_min > scale_max:
            raise SettingError("scale_min", scale_min, f"must be at most scale_max={scale_max}")
        if ratio_min > ratio_max:
            raise SettingError("ratio_min", ratio_min, f"must be at most ratio_max={ratio_max}")
        self.scale_min, self.scale_max = scale_min, scale_max
        self.low, self.high = math.log(ratio_min), math.log(ratio_max)

    def draw(self, u: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return heights (B,) and widths (B,) in pixels, and whether they fit into the image.

        The first of several draws that fits is returned, or the first one if none does.
        u: random numbers (B, columns) in [0, 1).
        """
        area = self.scale_min + u[:, :TRIES] * (self.scale_max - self.scale_min)
        ratio = torch.exp(self.low + u[:, TRIES:] * (self.high - self.low))
        heights, widths = (
            (height * width * area / ratio).sqrt(),
            (height * width * area * ratio).sqrt(),
        )
        fit = (heights <= height) & (widths <= width)
        first = fit.int().argmax(dim=1, keepdim=True)
        return (
            heights.gather(1, first).squeeze(1),
            widths.gather(1, first).squeeze(1),
            fit.any(dim=1),
        )
