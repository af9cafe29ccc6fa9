"""Rotate, scale, shear and shift images at random, or leave them as they are."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import Fraction, NonNegative, SettingError, validate_args
from tunebook.randomness import uniform

Scale = Annotated[float, Field(ge=0.01, le=100)]  # outside, no part of an image is visible


class NoAugmentation(nn.Module):
    """Leave the images unchanged."""

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the images as they are."""
        return images


class Affine(nn.Module):
    """Rotate, scale, shear and shift each image by amounts that are drawn uniformly.

    Pixels from outside the image are black.
    rotation, shear: the maximum in either direction, in degrees. scale_min, scale_max: factors.
    shift: the maximum in either direction, as a fraction of the side.
    """

    @validate_args
    def __init__(
        self,
        rotation: NonNegative,
        shear: NonNegative,
        scale_min: Scale,
        scale_max: Scale,
        shift: Fraction,
    ) -> None:
        super().__init__()
        if rotation > 180:
            raise SettingError("rotation", rotation, "must be at most 180 degrees")
        if shear >= 90:
            raise SettingError("shear", shear, "must be less than 90 degrees")
        if scale_min > scale_max:
            raise SettingError("scale_min", scale_min, f"must be at most scale_max={scale_max}")
        self.rotation, self.shear, self.shift = math.radians(rotation), math.radians(shear), shift
        self.scale_min, self.scale_max = scale_min, scale_max

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the transformed images (B, C, H, W), interpolated bilinearly."""
        grid = F.affine_grid(
            self._matrices(uniform(key, index, 5)), list(images.shape), align_corners=False
        )
        return F.grid_sample(
            images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )

    def _matrices(self, u: Tensor) -> Tensor:
        """Return matrices (B, 2, 3) for random numbers (B, 5) in [0, 1).

        They map output to input coordinates, both in [-1, 1].
        """
        signed = 2 * u - 1
        angle, shear = signed[:, 0] * self.rotation, torch.tan(signed[:, 1] * self.shear)
        scale = 1 / (self.scale_min + u[:, 2] * (self.scale_max - self.scale_min))
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        # A shift is a fraction of the side, whose length is 2 in these coordinates.
        across, down = 2 * self.shift * signed[:, 3], 2 * self.shift * signed[:, 4]
        top = torch.stack([cos, cos * shear - sin, across], dim=1)
        bottom = torch.stack([sin, sin * shear + cos, down], dim=1)
        return torch.stack([top, bottom], dim=1)
