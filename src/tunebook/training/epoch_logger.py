"""Print a line for each epoch, and log its times."""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil
from pytorch_lightning import Callback, LightningModule, Trainer

from tunebook.metrics.facts import TRAIN, VALIDATION, short_name, split_of

log = logging.getLogger(__name__)


class EpochLogger(Callback):
    """Print a line and log times for each epoch.

    history: one dict for each epoch, with "epoch" (from 1) and all metrics of that epoch. In a
    resumed run, times include what was spent before.
    """

    first_step_seen = False

    def __init__(self, log_lr: bool) -> None:
        self.history: list[dict[str, float]] = []
        self.log_lr = log_lr
        self.epoch_start = self.fit_start = time.perf_counter()
        self.fit_s = self.epoch_s = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the epochs so far, and the seconds spent on this epoch and on training."""
        now = time.perf_counter()
        return {
            "history": self.history,
            "epoch_s": now - self.epoch_start,
            "fit_s": now - self.fit_start,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the epochs and seconds of a resumed run."""
        self.history = [dict(epoch) for epoch in state_dict["history"]]
        self.epoch_s, self.fit_s = state_dict["epoch_s"], state_dict["fit_s"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks, including the time that a resumed run has already spent.

        The epoch's clock starts here as well, because Lightning does not call
        `on_train_epoch_start` for a resumed epoch.
        """
        self.fit_start = time.perf_counter() - self.fit_s
        self.epoch_start = time.perf_counter() - self.epoch_s

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self.epoch_start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log once per process the seconds from its start to the end of its first step."""
        if not EpochLogger.first_step_seen:
            EpochLogger.first_step_seen = True
            seconds = time.time() - psutil.Process().create_time()
            for logger in trainer.loggers:
                logger.log_metrics({"time/first_step_s": seconds}, step=0)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the training samples per second, before the time of validation is added."""
        seconds = time.perf_counter() - self.epoch_start
        samples = self._train_metrics(pl_module).samples.item()
        self.samples_per_s = samples * trainer.world_size / seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's times and print its line.

        Lightning calls this before the LightningModule's own hook, which resets the metrics.
        """
        found: dict[str, Any] = {
            "time/epoch_s": time.perf_counter() - self.epoch_start,
            "speed/samples_per_s": self.samples_per_s,
        }
        if self.log_lr:
            groups = trainer.optimizers[0].param_groups
            found["lr"] = groups[-1]["lr"]
            if len(groups) > 1:  # of a network that is fine-tuned, whose head is the last group
                found["lr_backbone"] = groups[0]["lr"]
        pl_module.log_dict(found)
        found |= self._train_metrics(pl_module).compute()
        found |= {
            name: value
            for name, value in trainer.callback_metrics.items()
            if split_of(name) == VALIDATION
        }
        epoch = {name: float(value) for name, value in found.items()}
        self.history.append({"epoch": trainer.current_epoch + 1, **epoch})
        log.info(
            "epoch %*d/%d  %s  %.1f s",
            len(str(trainer.max_epochs)), trainer.current_epoch + 1, trainer.max_epochs,
            "  ".join(_in_line(epoch)), epoch["time/epoch_s"],
        )  # fmt: skip

    def _train_metrics(self, pl_module: LightningModule) -> Any:
        return pl_module.train_metrics

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.fit_s = time.perf_counter() - self.fit_start


def _in_line(epoch: Mapping[str, float]) -> Iterator[str]:
    """Yield the metrics of an epoch as Keras prints them: `loss 0.1234`, `val_loss 0.1234`."""
    for split, prefix in ((TRAIN, ""), (VALIDATION, f"{VALIDATION}_")):
        for name, value in epoch.items():
            if split_of(name) == split:
                yield f"{prefix}{short_name(name)} {value:.4f}"
