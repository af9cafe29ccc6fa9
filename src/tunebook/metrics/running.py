"""Compute loss and accuracy as running sums, which cost a training step almost nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from tunebook.metrics.facts import ACCURACY, LOSS, full_name

# A checkpoint's key of the running training metrics. Checkpoints of earlier versions have it too.
SAVED_METRICS = "train_figures"


class EpochMetrics(Metric):
    """Compute a split's mean loss and accuracy over an epoch's samples.

    Each sample counts the same, so a smaller last batch has less weight. A torchmetrics collection
    of a mean and an accuracy takes three times as long per step, and its mean ignores the weights
    unless it also checks for NaN.
    """

    full_state_update = False
    loss_sum: Tensor
    correct: Tensor
    samples: Tensor

    def __init__(self, split: str) -> None:
        super().__init__()
        self.split = split
        for name, dtype in {
            "loss_sum": torch.float32,
            "correct": torch.int64,
            "samples": torch.int64,
        }.items():
            self.add_state(name, torch.zeros((), dtype=dtype), dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        loss: the batch's mean, a scalar tensor. logits: (B, num_classes). labels: int64 (B,).
        """
        self.loss_sum += loss * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum()
        self.samples += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Return the two metrics by their full names."""
        return {
            full_name(self.split, LOSS): self.loss_sum / self.samples,
            full_name(self.split, ACCURACY): self.correct / self.samples,
        }

    def saved(self) -> dict[str, Any]:
        """Return the state as plain values, from which `restore` continues bit-exactly."""
        return {
            "updates": self.update_count,
            **{name: getattr(self, name).cpu() for name in self._defaults},
        }

    def restore(self, saved: Sequence[dict[str, Any]]) -> None:
        """Restore the sum of several saved states, one for each device."""
        self.reset()
        self._update_count = sum(state["updates"] for state in saved)
        for name in self._defaults:
            for state in saved:
                setattr(self, name, getattr(self, name) + state[name].to(self.device))
