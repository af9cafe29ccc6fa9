"""Print a line for each epoch, and log its times."""

import logging
import time
from typing import Any

import psutil
from pytorch_lightning import Callback, LightningModule, Trainer

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
        samples = self._train_figures(pl_module).samples.item()
        self.samples_per_s = samples * trainer.world_size / seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's times and print its line.

        Lightning calls this before the LightningModule's own hook, which resets the metrics.
        """
        figures: dict[str, Any] = {
            "time/epoch_s": time.perf_counter() - self.epoch_start,
            "speed/samples_per_s": self.samples_per_s,
        }
        if self.log_lr:
            figures["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        pl_module.log_dict(figures)
        figures |= self._train_figures(pl_module).compute()
        figures |= {name: trainer.callback_metrics[name] for name in ("val/loss", "val/acc")}
        epoch = {name: float(value) for name, value in figures.items()}
        self.history.append({"epoch": trainer.current_epoch + 1, **epoch})
        log.info(
            "epoch %*d/%d  loss %.4f  acc %.4f  val_loss %.4f  val_acc %.4f  %.1f s",
            len(str(trainer.max_epochs)), trainer.current_epoch + 1, trainer.max_epochs,
            epoch["train/loss"], epoch["train/acc"], epoch["val/loss"], epoch["val/acc"],
            epoch["time/epoch_s"],
        )  # fmt: skip

    def _train_figures(self, pl_module: LightningModule) -> Any:
        return pl_module.train_figures

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.fit_s = time.perf_counter() - self.fit_start
