"""The LightningModule around any network: cross-entropy, accuracy, an optimizer and its schedule."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from tunebook.data import Batch
from tunebook.randomness import mix, reseed

OptimizerFactory = Callable[[Iterator[nn.Parameter]], Optimizer]
ScheduleFactory = Callable[[Optimizer], dict[str, Any]]  # optimizer -> Lightning's lr_scheduler_config


class NonFiniteLoss(FloatingPointError):
    """The loss became NaN or infinite. Raised before the optimizer step that it would have spoiled."""


class Classifier(LightningModule):
    """Trains `network` (images (B, C, H, W) -> logits (B, num_classes)) with what the two factories make.

    Every step reseeds torch's generator from (seed, step), so dropout needs no saved state to come out the same after a resume.
    """

    def __init__(self, network: nn.Module, optimizer: OptimizerFactory, schedule: ScheduleFactory, num_classes: int, seed: int) -> None:
        super().__init__()
        # Convolutions on CPU and tensor cores are faster with channels innermost; shapes and results' meaning stay the same.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.make_optimizer, self.make_schedule, self.seed = optimizer, schedule, seed
        # No checks in each step: labels and logits come from our own loader and network.
        accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        metrics = MetricCollection({"loss": MeanMetric(nan_strategy="disable"), "acc": accuracy}, compute_groups=False)
        self.train_metrics, self.val_metrics, self.test_metrics = (metrics.clone(prefix=f"{split}/") for split in ("train", "val", "test"))
        self.test_logits: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)."""
        logits: Tensor = self.network(images)
        return logits

    def _step(self, batch: Batch, metrics: MetricCollection) -> tuple[Tensor, Tensor]:
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        # detach(): the metric must not keep the batch's graph alive. expand: every sample counts, in a last, smaller batch too
        # (torchmetrics ignores `weight` where nan_strategy is "disable").
        metrics.update(value=loss.detach().expand(len(batch.labels)), preds=logits.detach(), target=batch.labels)
        return loss, logits

    def _log_epoch(self, metrics: MetricCollection) -> None:
        self.log_dict(metrics.compute())
        metrics.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keys dropout by (seed, step, device)."""
        reseed(mix(self.seed, self.global_step, self.global_rank), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss of the batch. NonFiniteLoss where it is not a number any more."""
        loss, _ = self._step(batch, self.train_metrics)
        if not torch.isfinite(loss):
            where = f"step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(f"the loss became {loss.item()} at {where}: try a smaller optimizer.lr")
        return loss

    def on_train_epoch_end(self) -> None:
        """Logs train/loss and train/acc: the mean over the epoch, dropout on, as Keras does."""
        self._log_epoch(self.train_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds to val/loss and val/acc."""
        self._step(batch, self.val_metrics)

    def on_validation_epoch_start(self) -> None:
        """Forgets a validation that was interrupted."""
        self.val_metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Logs val/loss and val/acc. NonFiniteLoss where the epoch's last step spoiled the weights."""
        loss = self.val_metrics.compute()["val/loss"]
        if not torch.isfinite(loss):
            where = f"the validation after step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(f"the loss became {loss.item()} in {where}: try a smaller optimizer.lr")
        self._log_epoch(self.val_metrics)

    def on_test_start(self) -> None:
        """Forgets the logits of an earlier test."""
        self.test_logits = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds to test/loss and test/acc, and keeps the logits."""
        _, logits = self._step(batch, self.test_metrics)
        self.test_logits.append(logits.float().cpu())

    def on_test_epoch_end(self) -> None:
        """Logs test/loss and test/acc."""
        self._log_epoch(self.test_metrics)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the epoch's running metrics."""
        checkpoint["train_metrics"] = {
            name: {
                "updates": metric.update_count,
                "state": {key: torch.as_tensor(value).cpu() for key, value in metric.metric_state.items()},
            }
            for name, metric in self.train_metrics.items(keep_base=True)
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them up again."""
        for name, metric in self.train_metrics.items(keep_base=True):
            saved = checkpoint["train_metrics"][name]
            metric._update_count = saved["updates"]
            for key, value in saved["state"].items():
                setattr(metric, key, value.to(metric.device))

    def configure_optimizers(self) -> Any:
        """What Lightning needs to know of the optimizer and its schedule."""
        optimizer = self.make_optimizer(self.network.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}
