"""Apply operations that are drawn from a list: RandAugment and TrivialAugment.

The list is that of torchvision: 14 operations, of which the first changes nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import validate_args
from tunebook.data.augmentation import operations
from tunebook.data.augmentation.operations import Operation, apply_each, resample
from tunebook.randomness import uniform

Layers = Annotated[int, Field(ge=0, le=14)]
STRONGEST = 30  # magnitude of the strongest operations
Magnitude = Annotated[float, Field(ge=0, le=STRONGEST, allow_inf_nan=False)]


@dataclass(frozen=True)
class Limits:
    """Hold the strongest change of each kind.

    shear: in pixels to the side for each pixel downwards. shift: in pixels, or as a fraction of the
    side with `shift_is_fraction`. rotation: in degrees. enhancement: the largest difference of a
    factor from 1. bits: those of 8 that posterizing removes.
    """

    shear: float
    shift: float
    shift_is_fraction: bool
    rotation: float
    enhancement: float
    bits: int


RANDAUGMENT = Limits(0.3, 150 / 331, True, 30, 0.9, 4)
TRIVIALAUGMENT_WIDE = Limits(0.99, 32, False, 135, 0.99, 6)


class RandAugment(nn.Module):
    """Apply a number of operations of one magnitude to each image (Cubuk et al. 2020).

    num_ops: operations for each image, drawn with replacement; 0 changes nothing.
    magnitude: the strength of each operation, from 0 to 30.
    """

    @validate_args
    def __init__(self, num_ops: Layers, magnitude: Magnitude) -> None:
        super().__init__()
        self.num_ops, self.magnitude = num_ops, magnitude
        self.operations = _operations(RANDAUGMENT)

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the changed images (B, C, H, W)."""
        u = uniform(key, index, max(1, 2 * self.num_ops))
        strength = torch.full_like(u[:, 0], self.magnitude / STRONGEST)
        for layer in range(self.num_ops):
            chosen, sign = u[:, 2 * layer], u[:, 2 * layer + 1]
            images = _apply(images, self.operations, chosen, strength, sign)
        return images


class TrivialAugment(nn.Module):
    """Apply one operation of a random magnitude to each image (Mueller & Hutter 2021, "wide")."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = _operations(TRIVIALAUGMENT_WIDE)

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the changed images (B, C, H, W)."""
        chosen, level, sign = uniform(key, index, 3).unbind(dim=1)
        strength = (level * (STRONGEST + 1)).floor() / STRONGEST
        return _apply(images, self.operations, chosen, strength, sign)


def _apply(
    images: Tensor,
    choices: Sequence[Operation],
    chosen: Tensor,
    strength: Tensor,
    sign: Tensor,
) -> Tensor:
    """Apply to each image one operation, with a strength in [0, 1].

    chosen, sign: random numbers (B,) in [0, 1) that choose the operation and the direction.
    """
    amounts = torch.where(sign < 0.5, -strength, strength)
    number = (chosen * len(choices)).long()
    return apply_each(images, number, choices, amounts.unsqueeze(1).expand(-1, len(choices)))


def _operations(limits: Limits) -> list[Operation]:
    """Return the operations, which take an amount from -1 to 1 for each image."""

    def enhancing(operation: Operation) -> Operation:
        return lambda images, amount: operation(images, 1 + limits.enhancement * amount)

    def moving(matrices: Callable[[Tensor, Tensor, Limits], Tensor]) -> Operation:
        return lambda images, amount: resample(images, matrices(images, amount, limits), "zeros")

    return [
        lambda images, amount: images,
        moving(_shear_x),
        moving(_shear_y),
        moving(_shift_x),
        moving(_shift_y),
        moving(_rotation),
        enhancing(operations.brightness),
        enhancing(operations.saturation),
        enhancing(operations.contrast),
        enhancing(operations.sharpness),
        lambda images, amount: operations.posterize(
            images, 8 - (limits.bits * amount.abs()).round()
        ),
        lambda images, amount: operations.solarize(images, 1 - amount.abs()),
        operations.autocontrast,
        operations.equalize,
    ]


def _matrices(across: Sequence[Tensor], down: Sequence[Tensor]) -> Tensor:
    """Return matrices (B, 2, 3) from output to input coordinates, given their elements (B,)."""
    return torch.stack([torch.stack(list(across), 1), torch.stack(list(down), 1)], dim=1)


def _shear_x(images: Tensor, amount: Tensor, limits: Limits) -> Tensor:
    height, width = images.shape[-2:]
    shear = limits.shear * amount * height / width  # about the upper left corner
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _matrices((one, shear, shear), (zero, one, zero))


def _shear_y(images: Tensor, amount: Tensor, limits: Limits) -> Tensor:
    height, width = images.shape[-2:]
    shear = limits.shear * amount * width / height
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _matrices((one, zero, zero), (shear, one, shear))


def _shift_x(images: Tensor, amount: Tensor, limits: Limits) -> Tensor:
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _matrices((one, zero, _shift(images.shape[-1], amount, limits)), (zero, one, zero))


def _shift_y(images: Tensor, amount: Tensor, limits: Limits) -> Tensor:
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _matrices((one, zero, zero), (zero, one, _shift(images.shape[-2], amount, limits)))


def _shift(side: int, amount: Tensor, limits: Limits) -> Tensor:
    """Return the shift by whole pixels, in coordinates in which the side is 2 long."""
    largest = limits.shift * side if limits.shift_is_fraction else limits.shift
    return -2 * (largest * amount).trunc() / side


def _rotation(images: Tensor, amount: Tensor, limits: Limits) -> Tensor:
    height, width = images.shape[-2:]
    angle = math.radians(limits.rotation) * amount
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(amount)
    return _matrices((cos, -sin * height / width, zero), (sin * width / height, cos, zero))
