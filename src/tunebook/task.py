"""Wrap a network in a LightningModule with a loss, metrics, an optimizer and a schedule."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from tunebook.data import Batch
from tunebook.metrics.facts import LOSS, TEST, TRAIN, VALIDATION, full_name
from tunebook.metrics.kept import Metrics, Predictions
from tunebook.metrics.running import SAVED_METRICS, EpochMetrics
from tunebook.randomness import mix, reseed

# What an optimizer takes: parameters, or groups of them. The learning rate of a group is that of
# the config times its "lr_factor".
ParameterGroups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
OptimizerFactory = Callable[[ParameterGroups], Optimizer]
# A function from an optimizer to Lightning's lr_scheduler_config.
ScheduleFactory = Callable[[Optimizer], dict[str, Any]]


class NonFiniteLoss(FloatingPointError):
    """Report a loss that became NaN or infinite.

    It is raised before the optimizer step, which would have made the weights unusable.
    """


class ClassificationTask(LightningModule):
    """Train `network` to minimize `loss`, with the optimizer and schedule that factories return.

    The network maps images (B, C, H, W) to logits (B, num_classes), and the loss maps these and
    labels int64 (B,) to the batch's mean. If the augmentation mixes labels, training labels are
    probabilities (B, num_classes), and `EpochMetrics` takes the most probable class as the label.
    Every step reseeds torch's generator from (seed, step), so dropout is the same after a resume
    without any saved state.

    If the network has a method `start_epoch(epoch)`, it is called at the start of each epoch,
    counted from 1, and when a run resumes. What its method `parameter_groups()` returns, if it has
    one, is given to the optimizer in place of its parameters.

    The two metrics of `EpochMetrics` are logged for each split, and `metrics` by their names for
    validation and test. `train/loss` is the loss that is minimized. `val/loss` and `test/loss` are
    the cross-entropy whatever the loss is, so that runs with different losses can be compared.

    compiles: whether torch compiles the network for training. Each shape of a batch is compiled by
    itself, so that a resumed run computes as before.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        metrics: Metrics,
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory,
        seed: int,
        compiles: bool = False,
    ) -> None:
        super().__init__()
        # Convolutions are faster in the channels_last format, on the CPU and on tensor cores.
        # Shapes and results stay the same.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Functions, so that the names in the state_dict are the same with and without compiling.
        self.compute_training: Callable[[Tensor], Tensor] = self.forward
        self.compiles = compiles
        self.loss = loss
        self.make_optimizer, self.make_schedule, self.seed = optimizer, schedule, seed
        self.train_metrics, self.val_metrics, self.test_metrics = (
            EpochMetrics(TRAIN),
            EpochMetrics(VALIDATION),
            EpochMetrics(TEST),
        )
        # Not an attribute that Lightning would move to the device: they are computed on the CPU.
        self.further_metrics = dict(metrics)
        self.val_predictions, self.test_predictions = Predictions(), Predictions()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, C, H, W)."""
        logits: Tensor = self.network(images)
        return logits

    def _evaluate(self, batch: Batch, metrics: EpochMetrics) -> Tensor:
        """Add a batch of validation or test to the metrics, and return its logits."""
        logits: Tensor = self(batch.images)
        metrics.update(F.cross_entropy(logits, batch.labels), logits, batch.labels)
        return logits

    def _log_epoch(self, metrics: EpochMetrics, predictions: Predictions | None = None) -> None:
        found = metrics.compute()
        if predictions is not None:
            found |= predictions.compute(metrics.split, self.further_metrics)
        self.log_dict(found)
        metrics.reset()

    def parameter_groups(self) -> ParameterGroups:
        """Return what the optimizer is made of."""
        groups: Callable[[], ParameterGroups] | None = getattr(
            self.network, "parameter_groups", None
        )
        return self.network.parameters() if groups is None else groups()

    def on_train_start(self) -> None:
        """Start the epoch of a run that resumes within it, for which no other hook is called."""
        if self.compiles:  # at the first batch of each shape; asking for it imports the compiler
            self.compute_training = torch.compile(self.network.forward, dynamic=False)
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Tell the network which epoch starts, so that it can freeze a part of itself."""
        if hasattr(self.network, "start_epoch"):
            self.network.start_epoch(self.current_epoch + 1)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout with (seed, step, device, batch within the step).

        The last is 0 unless gradients are accumulated, and such a key changes nothing.
        """
        batch_in_step = batch_idx % self.trainer.accumulate_grad_batches
        reseed(mix(self.seed, self.global_step, self.global_rank, batch_in_step), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the batch's mean loss; raise NonFiniteLoss if it is NaN or infinite."""
        logits = self.compute_training(batch.images)
        loss: Tensor = self.loss(logits, batch.labels)
        labels = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(dim=1)
        # Detached, so that the sums do not keep the batch's graph alive.
        self.train_metrics.update(loss.detach(), logits.detach(), labels)
        if not torch.isfinite(loss):
            where = f"step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(
                f"the loss became {loss.item()} at {where}: try a smaller optimizer.lr"
            )
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the training metrics: means over the epoch with dropout on, as in Keras."""
        self._log_epoch(self.train_metrics)

    def on_validation_epoch_start(self) -> None:
        """Discard what is left of a validation that was interrupted."""
        self.val_metrics.reset()
        self.val_predictions.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the validation metrics, and keep its logits if a metric needs them."""
        logits = self._evaluate(batch, self.val_metrics)
        if self.further_metrics:
            self.val_predictions.add(logits, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics.

        Raises NonFiniteLoss if the epoch's last step made the weights unusable.
        """
        loss = self.val_metrics.compute()[full_name(VALIDATION, LOSS)]
        if not torch.isfinite(loss):
            where = f"the validation after step {self.global_step}, epoch {self.current_epoch + 1}"
            raise NonFiniteLoss(
                f"the loss became {loss.item()} in {where}: try a smaller optimizer.lr"
            )
        self._log_epoch(self.val_metrics, self.val_predictions)
        self.val_predictions.clear()

    def on_test_start(self) -> None:
        """Discard the logits of an earlier test."""
        self.test_predictions.clear()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the test metrics, and keep its logits."""
        logits = self._evaluate(batch, self.test_metrics)
        self.test_predictions.add(logits, batch.labels)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_epoch(self.test_metrics, self.test_predictions)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the epoch's running training metrics of every device."""
        found = [self.train_metrics.saved()]
        if torch.distributed.is_initialized():
            found *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(found, found[0])
        checkpoint[SAVED_METRICS] = found

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the running training metrics; the number of devices may have changed."""
        self.train_metrics.restore(
            checkpoint[SAVED_METRICS][self.global_rank :: self.trainer.world_size]
        )

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule in the form that Lightning expects."""
        optimizer = self.make_optimizer(self.parameter_groups())
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}
