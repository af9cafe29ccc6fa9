"""Change whole batches of images by an amount for each image.

Images are float (B, C, H, W) in [0, 1] with 1 or 3 channels, and so are the results. Amounts are
float (B,). Each operation does what the function of its name in
torchvision.transforms.v2.functional does to one image.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]
LUMA = (0.2989, 0.587, 0.114)  # the shares of red, green and blue in grey, as in torchvision
LEVELS = 256


def apply_each(
    images: Tensor, choice: Tensor, operations: Sequence[Operation], amounts: Tensor
) -> Tensor:
    """Apply to each image the operation of its own choice; other images are not changed.

    choice: int64 (B,), the number of an operation. amounts: (B, number of operations).
    """
    result = images.clone()
    for number, operation in enumerate(operations):
        chosen = (choice == number).nonzero().squeeze(1)
        if len(chosen):
            result[chosen] = operation(images[chosen], amounts[chosen, number])
    return result


def resample(images: Tensor, matrices: Tensor, outside: Literal["zeros", "border"]) -> Tensor:
    """Return images whose pixels come from elsewhere in the image, interpolated bilinearly.

    matrices: (B, 2, 3), from output to input coordinates, both from -1 to 1 over the image.
    outside: pixels from outside the image are black ("zeros") or like the nearest one ("border").
    """
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply images by factors; 0 gives black images."""
    return (images * _of_images(factor)).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the difference from the mean brightness by factors; 0 gives grey images."""
    return _blended(_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the difference from grey by factors; 0 gives images without color."""
    return _blended(_grey(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the difference from a smoothed image by factors; 0 gives the smoothed image.

    Pixels at the edge are not changed.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 3:
        return images
    around = sum(
        images[..., y : y + height - 2, x : x + width - 2] for y in range(3) for x in range(3)
    )
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = (around + 4 * images[..., 1:-1, 1:-1]) / 13
    return _blended(smooth, images, factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by shifts, as fractions of the color circle from -0.5 to 0.5."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(dim=1)
    value, low = images.amax(dim=1), images.amin(dim=1)
    span = value - low
    safe = torch.where(span > 0, span, 1)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * shift.view(-1, 1, 1)
    # How far each channel is below the value (Smith 1978, in the form without branches).
    channels = [
        value - span * torch.minimum(k, 4 - k).clamp(0, 1)
        for k in ((sixth + n) % 6 for n in (5, 3, 1))
    ]
    return torch.stack(channels, dim=1)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep only the highest bits of each of the 256 levels; bits: from 0 to 8."""
    step = 2.0 ** (8 - _of_images(bits))
    return (_levels(images) / step).floor() * step / (LEVELS - 1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the pixels that are at least as bright as thresholds."""
    return torch.where(images >= _of_images(threshold), 1 - images, images)


def autocontrast(images: Tensor, unused: Tensor) -> Tensor:
    """Stretch each channel so that it reaches from 0 to 1; one of a single value stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    is_flat = high == low
    return torch.where(is_flat, images, (images - low) / torch.where(is_flat, 1, high - low))


def equalize(images: Tensor, unused: Tensor) -> Tensor:
    """Map the 256 levels of each channel so that all become about equally frequent."""
    levels = _levels(images).flatten(2).long()
    counts = torch.zeros(*levels.shape[:2], LEVELS, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    highest = levels.amax(dim=2, keepdim=True)
    step = (levels.shape[2] - counts.gather(2, highest)) // (LEVELS - 1)
    below = counts.cumsum(dim=2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=LEVELS - 1)
    table = torch.where(step > 0, table, torch.arange(LEVELS, device=images.device))
    return table.gather(2, levels).view_as(images).to(images.dtype) / (LEVELS - 1)


def _of_images(amount: Tensor) -> Tensor:
    return amount.view(-1, 1, 1, 1)


def _blended(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return (other + _of_images(factor) * (images - other)).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel] for channel in range(3))
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


def _levels(images: Tensor) -> Tensor:
    """Return the pixels as whole numbers from 0 to 255, rounded as torchvision rounds them."""
    return (images * (LEVELS - 1e-3)).floor().clamp(0, LEVELS - 1)
