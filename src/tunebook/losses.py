"""Define the losses that networks are trained with.

A loss maps logits (B, num_classes) and labels int64 (B,) to the mean over the batch, a scalar.
Every class of `torch.nn` that does so can be used as well, as `torch.nn.modules.loss.<class>`.
Validation and test always report plain cross-entropy, so that runs with different losses can be
compared by it.
"""

from torch import nn

from tunebook.config.validation import Fraction, validate_args


class CrossEntropy(nn.CrossEntropyLoss):
    """Compute the cross-entropy between labels and predicted probabilities, in nats.

    label_smoothing: the part of each label's probability that is spread evenly over all classes
    (Szegedy et al. 2016).
    """

    @validate_args
    def __init__(self, label_smoothing: Fraction) -> None:
        super().__init__(label_smoothing=label_smoothing)


def is_reported(loss: nn.Module) -> bool:
    """Return whether this loss is the one that validation and test report."""
    return type(loss) is CrossEntropy and loss.label_smoothing == 0
