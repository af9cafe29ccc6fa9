"""Wrap a network in a LightningModule with cross-entropy, accuracy, an optimizer and a schedule."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from tunebook.data import Batch
from tunebook.randomness import mix, reseed

OptimizerFactory = Callable[[Iterator[nn.Parameter]], Optimizer]
# A function from an optimizer to Lightning's lr_scheduler_config.
ScheduleFactory = Callable[[Optimizer], dict[str, Any]]


class NonFiniteLoss(FloatingPointError):
    """Report a loss that became NaN or infinite.

    It is raised before the optimizer step, which would have made the weights unusable.
    """


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
        """Return the metrics `<split>/loss` and `<split>/acc`."""
        return {
            f"{self.split}/loss": self.loss_sum / self.samples,
            f"{self.split}/acc": self.correct / self.samples,
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


class Classifier(LightningModule):
    """Train `network` with the optimizer and the schedule that the two factories return.

    The network maps images (B, C, H, W) to logits (B, num_classes). Every step reseeds torch's
    generator from (seed, step), so dropout is the same after a resume without any saved state.
    """

    def __init__(
        self, network: nn.Module, optimizer: OptimizerFactory, schedule: ScheduleFactory, seed: int
    ) -> None:
        super().__init__()
        # Convolutions are faster in the channels_last format, on the CPU and on tensor cores.
        # Shapes and results stay the same.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.make_optimizer, self.make_schedule, self.seed = optimizer, schedule, seed
        self.train_figures, self.val_figures, self.test_figures = (
            EpochMetrics("train"),
            EpochMetrics("val"),
            EpochMetrics("test"),
        )
        self.test_logits: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, C, H, W)."""
        logits: Tensor = self.network(images)
        return logits

    def _step(self, batch: Batch, figures: EpochMetrics) -> tuple[Tensor, Tensor]:
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        # Detached, so that the sums do not keep the batch's graph alive.
        figures.update(loss.detach(), logits.detach(), batch.labels)
        return loss, logits

    def _log_epoch(self, figures: EpochMetrics) -> None:
        self.log_dict(figures.compute())
        figures.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout with (seed, step, device)."""
        reseed(mix(self.seed, self.global_step, self.global_rank), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the batch's mean loss; raise NonFiniteLoss if it is NaN or infinite."""
        loss, _ = self._step(batch, self.train_figures)
        if not torch.isfinite(loss):
            where = f"step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(
                f"the loss became {loss.item()} at {where}: try a smaller optimizer.lr"
            )
        return loss

    def on_train_epoch_end(self) -> None:
        """Log train/loss and train/acc: means over the epoch with dropout on, as in Keras."""
        self._log_epoch(self.train_figures)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to val/loss and val/acc."""
        self._step(batch, self.val_figures)

    def on_validation_epoch_start(self) -> None:
        """Discard the sums of a validation that was interrupted."""
        self.val_figures.reset()

    def on_validation_epoch_end(self) -> None:
        """Log val/loss and val/acc.

        Raises NonFiniteLoss if the epoch's last step made the weights unusable.
        """
        loss = self.val_figures.compute()["val/loss"]
        if not torch.isfinite(loss):
            where = f"the validation after step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(
                f"the loss became {loss.item()} in {where}: try a smaller optimizer.lr"
            )
        self._log_epoch(self.val_figures)

    def on_test_start(self) -> None:
        """Discard the logits of an earlier test."""
        self.test_logits = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to test/loss and test/acc, and keep its logits."""
        _, logits = self._step(batch, self.test_figures)
        self.test_logits.append(logits.float().cpu())

    def on_test_epoch_end(self) -> None:
        """Log test/loss and test/acc."""
        self._log_epoch(self.test_figures)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the epoch's running training metrics of every device."""
        found = [self.train_figures.saved()]
        if torch.distributed.is_initialized():
            found *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(found, found[0])
        checkpoint["train_figures"] = found

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the running training metrics; the number of devices may have changed."""
        self.train_figures.restore(
            checkpoint["train_figures"][self.global_rank :: self.trainer.world_size]
        )

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule in the form that Lightning expects."""
        optimizer = self.make_optimizer(self.network.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}
