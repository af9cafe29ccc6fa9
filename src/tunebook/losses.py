"""Define the losses that networks are trained with.

A loss maps logits (B, num_classes) and labels to the mean over the batch, a scalar. Labels are
int64 (B,), or where an augmentation mixes them the probability of each class (B, num_classes).
Every class of `torch.nn` that does so can be used as well, as `torch.nn.modules.loss.<class>`.
Validation and test always report plain cross-entropy, so that runs with different losses can be
compared by it.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import Fraction, Positive, SettingError, validate_args

Weights = Literal["balanced"] | list[Positive] | None
# A function without arguments that returns the number of training images of each class.
ClassCounts = Callable[[], Tensor]
Gamma = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
SMALLEST = 1e-8  # of 1 - p: the derivative of a power below 1 is infinite at 0


class ClassWeights:
    """Find the weight of each class in a loss.

    class_weights: None for equal weights, a list of one positive number for each class, or
    "balanced": inversely proportional to the number of training images, so that all classes
    together count the same. Their mean over the training images is 1.
    num_classes: the number that a list must have. class_counts: is called once, at the first batch,
    because the images are not loaded before.
    """

    def __init__(self, class_weights: Weights, num_classes: int, class_counts: ClassCounts) -> None:
        if isinstance(class_weights, list) and len(class_weights) != num_classes:
            message = (
                f"has {len(class_weights)} numbers, but there are {num_classes} classes; "
                "allowed: null, balanced, or one number for each class"
            )
            raise SettingError("class_weights", class_weights, message)
        self.class_weights, self.class_counts = class_weights, class_counts
        self._found: Tensor | None = None

    def like(self, logits: Tensor) -> Tensor | None:
        """Return the weights (num_classes,) on the device of the logits, or None if all are 1."""
        if self.class_weights is None:
            return None
        if self._found is None:
            given = self.class_weights
            weights = balanced(self.class_counts()) if given == "balanced" else torch.tensor(given)
            self._found = weights.to(logits.device, torch.float32)
        return self._found


def balanced(counts: Tensor) -> Tensor:
    """Return weights inversely proportional to counts int64 (num_classes,).

    A class without images gets the weight 0.
    """
    is_present = counts > 0
    weights = counts.sum() / (is_present.sum() * counts.clamp(min=1).double())
    return torch.where(is_present, weights, 0.0)


class CrossEntropy(nn.Module):
    """Compute the cross-entropy between labels and predicted probabilities, in nats.

    label_smoothing: the part of each label's probability that is spread evenly over all classes
    (Szegedy et al. 2016). class_weights: see `ClassWeights`. As in torch, the mean over the batch
    is weighted if labels are class numbers.
    """

    @validate_args
    def __init__(
        self,
        label_smoothing: Fraction,
        class_weights: Weights,
        num_classes: int,
        class_counts: ClassCounts,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.weights = ClassWeights(class_weights, num_classes, class_counts)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch."""
        weights = self.weights.like(logits)
        return F.cross_entropy(logits, labels, weights, label_smoothing=self.label_smoothing)


class Focal(nn.Module):
    """Compute the focal loss, which gives well-classified images less weight (Lin et al. 2017).

    Each class's part of the cross-entropy is multiplied by (1 - p) ** gamma, where p is its
    predicted probability. gamma: 0 gives the cross-entropy. class_weights: see `ClassWeights`; they
    are the paper's alpha.
    """

    @validate_args
    def __init__(
        self, gamma: Gamma, class_weights: Weights, num_classes: int, class_counts: ClassCounts
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.weights = ClassWeights(class_weights, num_classes, class_counts)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch, weighted as `CrossEntropy` weights it."""
        log_p = logits.log_softmax(dim=1)
        losses = -log_p * (-torch.expm1(log_p)).clamp(min=SMALLEST) ** self.gamma
        weights = self.weights.like(logits)
        if labels.ndim == 1:
            of_labels = losses.gather(1, labels.unsqueeze(1)).squeeze(1)
            if weights is None:
                return of_labels.mean()
            return (weights[labels] * of_labels).sum() / weights[labels].sum()
        if weights is not None:
            losses = losses * weights
        return (labels * losses).sum(dim=1).mean()


def is_reported(loss: nn.Module) -> bool:
    """Return whether this loss is the one that validation and test report."""
    return (
        type(loss) is CrossEntropy
        and loss.label_smoothing == 0
        and loss.weights.class_weights is None
    )
