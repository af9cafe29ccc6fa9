"""Change the colors of images at random."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import NonNegative, validate_args
from tunebook.data.augmentation import operations
from tunebook.data.augmentation.operations import Operation, apply_each
from tunebook.randomness import uniform

Hue = Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]


class ColorJitter(nn.Module):
    """Change brightness, contrast, saturation and hue, in an order drawn for each image.

    brightness, contrast, saturation: factors are drawn uniformly from 1 - x to 1 + x, but not below
    0. hue: the maximum turn in either direction, as a fraction of the color circle. 0 changes
    nothing. Grey images have neither saturation nor hue.
    """

    @validate_args
    def __init__(
        self,
        brightness: NonNegative,
        contrast: NonNegative,
        saturation: NonNegative,
        hue: Hue,
    ) -> None:
        super().__init__()
        ranges: list[tuple[Operation, float, float]] = [
            (operations.brightness, *_around_1(brightness)),
            (operations.contrast, *_around_1(contrast)),
            (operations.saturation, *_around_1(saturation)),
            (operations.hue, -hue, hue),
        ]
        self.ranges = [one for one in ranges if one[1] < one[2]]

    def forward(self, images: Tensor, index: Tensor, key: int) -> Tensor:
        """Return the changed images (B, C, H, W)."""
        count = len(self.ranges)
        if not count:
            return images
        u = uniform(key, index, 2 * count)
        low, high = (images.new_tensor([one[end] for one in self.ranges]) for end in (1, 2))
        amounts = low + u[:, :count] * (high - low)
        order = u[:, count:].argsort(dim=1)
        functions = [one[0] for one in self.ranges]
        for place in range(count):
            images = apply_each(images, order[:, place], functions, amounts)
        return images


def _around_1(reach: float) -> tuple[float, float]:
    return max(0.0, 1 - reach), 1 + reach
