"""Mix the images of a batch with each other, and their labels in the same shares.

A label becomes a probability for each class. The partner of an image and its share depend only on
(key, index) and on which other images are in the batch.
"""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import Fraction, validate_args
from tunebook.data.augmentation.areas import in_rectangle
from tunebook.randomness import uniform

# Of a beta distribution. Outside, its values are 0, 1 or 0.5 in float32.
Alpha = Annotated[float, Field(ge=0.01, le=1000, allow_inf_nan=False)]


class Mixing(nn.Module, ABC):
    """Mark an augmentation that changes images and labels together."""

    @abstractmethod
    def forward(
        self, images: Tensor, labels: Tensor, index: Tensor, key: int
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed images (B, C, H, W) and the mixed labels.

        labels: the probability of each class, float (B, num_classes).
        """


class MixUp(Mixing):
    """Replace images by weighted means of two images (Zhang et al. 2018).

    alpha: an image's share is drawn from the beta distribution (alpha, alpha). The larger alpha is,
    the closer it is to a half. probability: that an image is mixed.
    """

    @validate_args
    def __init__(self, alpha: Alpha, probability: Fraction) -> None:
        super().__init__()
        self.alpha, self.probability = alpha, probability

    def forward(
        self, images: Tensor, labels: Tensor, index: Tensor, key: int
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed images and labels."""
        u = uniform(key, index, 3)
        partner = _partners(u[:, 0])
        share = torch.where(u[:, 2] < self.probability, _beta(self.alpha, u[:, 1]), 1.0)
        weight = share.view(-1, 1, 1, 1)
        mixed = weight * images + (1 - weight) * images[partner]
        return mixed, _mixed_labels(labels, partner, share)


class CutMix(Mixing):
    """Replace a rectangle of each image by that of another image (Yun et al. 2019).

    alpha: the rest's share of the image is drawn from the beta distribution (alpha, alpha) before
    the rectangle is cut off at the image's edge. probability: that an image is mixed.
    """

    @validate_args
    def __init__(self, alpha: Alpha, probability: Fraction) -> None:
        super().__init__()
        self.alpha, self.probability = alpha, probability

    def forward(
        self, images: Tensor, labels: Tensor, index: Tensor, key: int
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed images and labels."""
        u = uniform(key, index, 5)
        partner = _partners(u[:, 0])
        side = (1 - _beta(self.alpha, u[:, 1])).sqrt()
        side = torch.where(u[:, 2] < self.probability, side, 0.0)
        rows, columns = (
            in_rectangle(
                (length * (u[:, place] - side / 2)).round(),
                (length * (u[:, place] + side / 2)).round(),
                length,
            )
            for place, length in ((3, images.shape[-2]), (4, images.shape[-1]))
        )
        replaced = rows.unsqueeze(2) & columns.unsqueeze(1)
        share = 1 - replaced.float().mean(dim=(1, 2))
        mixed = torch.where(replaced.unsqueeze(1), images[partner], images)
        return mixed, _mixed_labels(labels, partner, share)


def _partners(u: Tensor) -> Tensor:
    """Return the position of each image's partner: they form one circle in a random order.

    u: random numbers (B,).
    """
    order = u.argsort(stable=True)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _beta(alpha: float, u: Tensor) -> Tensor:
    """Return numbers of the beta distribution (alpha, alpha) for random numbers (B,) in [0, 1)."""
    from scipy.special import betaincinv  # here, because most runs do not mix images

    return torch.from_numpy(betaincinv(alpha, alpha, u.double().cpu().numpy())).to(u)


def _mixed_labels(labels: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    weight = share.unsqueeze(1)
    return weight * labels + (1 - weight) * labels[partner]
