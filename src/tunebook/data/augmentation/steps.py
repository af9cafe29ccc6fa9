"""Apply several augmentations one after another, and those that mix labels."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tunebook.data.augmentation.mixing import Mixing
from tunebook.randomness import mix


class Steps(nn.Module):
    """Hold several augmentations in the order in which they are applied."""

    def __init__(self, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)


def mixes_labels(augmentation: nn.Module) -> bool:
    """Return whether an augmentation gives probabilities of the classes as labels."""
    return any(isinstance(module, Mixing) for module in augmentation.modules())


def augment(
    augmentation: nn.Module,
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    index: Tensor,
    key: int,
) -> tuple[Tensor, Tensor]:
    """Return the changed images and their labels.

    Labels are int64 (B,). If the augmentation mixes labels, they are returned as the probability of
    each class, float (B, num_classes).
    """
    if mixes_labels(augmentation):
        labels = F.one_hot(labels, num_classes).to(images.dtype)
    return _apply(augmentation, images, labels, index, key)


def _apply(
    augmentation: nn.Module, images: Tensor, labels: Tensor, index: Tensor, key: int
) -> tuple[Tensor, Tensor]:
    if isinstance(augmentation, Steps):
        for number, step in enumerate(augmentation.steps):
            # Equal keys would make the random numbers of two steps depend on each other.
            images, labels = _apply(step, images, labels, index, mix(key, number))
        return images, labels
    if isinstance(augmentation, Mixing):
        images, labels = augmentation(images, labels, index, key)
        return images, labels
    return augmentation(images, index, key), labels
