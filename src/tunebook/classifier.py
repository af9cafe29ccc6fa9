"""The LightningModule around any network: cross-entropy, accuracy, an optimizer and its schedule."""

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
ScheduleFactory = Callable[
    [Optimizer], dict[str, Any]
]  # optimizer -> Lightning's lr_scheduler_config


class NonFiniteLoss(FloatingPointError):
    """The loss became NaN or infinite. Raised before the optimizer step that it would have spoiled."""


class Figures(Metric):
    """A split's loss and accuracy over an epoch, each the mean over its samples: a last, smaller batch weighs less.

    torchmetrics' own collection of a mean and an accuracy costs three times as much a step, and its mean ignores weights where it
    does not look for NaN.
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
        """loss: mean of the batch, (); logits: (B, num_classes); labels: int64 (B,)."""
        self.loss_sum += loss * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum()
        self.samples += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """`<split>/loss` and `<split>/acc`."""
        return {
            f"{self.split}/loss": self.loss_sum / self.samples,
            f"{self.split}/acc": self.correct / self.samples,
        }

    def saved(self) -> dict[str, Any]:
        """Plain values, from which `restore` goes on to the bit."""
        return {
            "updates": self.update_count,
            **{name: getattr(self, name).cpu() for name in self._defaults},
        }

    def restore(self, saved: Sequence[dict[str, Any]]) -> None:
        """Takes up where each of `saved` was, together."""
        self.reset()
        self._update_count = sum(state["updates"] for state in saved)
        for name in self._defaults:
            for state in saved:
                setattr(self, name, getattr(self, name) + state[name].to(self.device))


class Classifier(LightningModule):
    """Trains `network` (images (B, C, H, W) -> logits (B, num_classes)) with what the two factories make.

    Every step reseeds torch's generator from (seed, step), so dropout needs no saved state to come out the same after a resume.
    """

    def __init__(
        self, network: nn.Module, optimizer: OptimizerFactory, schedule: ScheduleFactory, seed: int
    ) -> None:
        super().__init__()
        # Convolutions on CPU and tensor cores are faster with channels innermost; shapes and results' meaning stay the same.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.make_optimizer, self.make_schedule, self.seed = optimizer, schedule, seed
        self.train_figures, self.val_figures, self.test_figures = (
            Figures("train"),
            Figures("val"),
            Figures("test"),
        )
        self.test_logits: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)."""
        logits: Tensor = self.network(images)
        return logits

    def _step(self, batch: Batch, figures: Figures) -> tuple[Tensor, Tensor]:
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        figures.update(
            loss.detach(), logits.detach(), batch.labels
        )  # detach: the sums must not keep the batch's graph alive
        return loss, logits

    def _log_epoch(self, figures: Figures) -> None:
        self.log_dict(figures.compute())
        figures.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keys dropout by (seed, step, device)."""
        reseed(mix(self.seed, self.global_step, self.global_rank), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss of the batch. NonFiniteLoss where it is not a number any more."""
        loss, _ = self._step(batch, self.train_figures)
        if not torch.isfinite(loss):
            where = f"step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(
                f"the loss became {loss.item()} at {where}: try a smaller optimizer.lr"
            )
        return loss

    def on_train_epoch_end(self) -> None:
        """Logs train/loss and train/acc: the mean over the epoch, dropout on, as Keras does."""
        self._log_epoch(self.train_figures)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds to val/loss and val/acc."""
        self._step(batch, self.val_figures)

    def on_validation_epoch_start(self) -> None:
        """Forgets a validation that was interrupted."""
        self.val_figures.reset()

    def on_validation_epoch_end(self) -> None:
        """Logs val/loss and val/acc. NonFiniteLoss where the epoch's last step spoiled the weights."""
        loss = self.val_figures.compute()["val/loss"]
        if not torch.isfinite(loss):
            where = f"the validation after step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(
                f"the loss became {loss.item()} in {where}: try a smaller optimizer.lr"
            )
        self._log_epoch(self.val_figures)

    def on_test_start(self) -> None:
        """Forgets the logits of an earlier test."""
        self.test_logits = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds to test/loss and test/acc, and keeps the logits."""
        _, logits = self._step(batch, self.test_figures)
        self.test_logits.append(logits.float().cpu())

    def on_test_epoch_end(self) -> None:
        """Logs test/loss and test/acc."""
        self._log_epoch(self.test_figures)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the epoch's running figures, of each device its own."""
        found = [self.train_figures.saved()]
        if torch.distributed.is_initialized():
            found *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(found, found[0])
        checkpoint["train_figures"] = found

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them up again. With other devices than before, none is lost."""
        self.train_figures.restore(
            checkpoint["train_figures"][self.global_rank :: self.trainer.world_size]
        )

    def configure_optimizers(self) -> Any:
        """What Lightning needs to know of the optimizer and its schedule."""
        optimizer = self.make_optimizer(self.network.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}
