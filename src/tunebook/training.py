"""The Lightning Trainer and what follows it through a run: epoch lines, times, checkpoints, stopping on a signal."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import psutil
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger

from tunebook.checks import Count, Name, NonNegative, Positive, SettingError, checked

log = logging.getLogger(__name__)

for library in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(library).setLevel(logging.WARNING)  # their advice is for whoever writes a training script

Devices = Count | Literal["auto"]
Limit = Count | Positive  # a number of batches, or a fraction of them


@checked
def make_trainer(
    accelerator: Literal["auto", "cpu", "gpu"],
    devices: Devices,
    strategy: Literal["auto", "ddp"],
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"],
    max_epochs: Count,
    deterministic: bool,
    gradient_clip_val: NonNegative,
    limit_train_batches: Limit,
    limit_val_batches: Limit,
    limit_test_batches: Limit,
    progress_bar: bool,
    output_dir: Name,
    callbacks: list[Callback],
    logger: Logger,
) -> Trainer:
    """A Trainer; the names and meanings are Lightning's. SettingError where the machine has not what is asked for."""
    device = device_kind(accelerator)
    if device == "cpu" and precision == "16-mixed":
        raise SettingError("precision", precision, "needs a GPU; allowed on the CPU: auto, 32-true, bf16-mixed")
    # A bar is for a terminal; in a file each refresh would be a line, and the epoch lines say enough.
    bar: list[Callback] = [TQDMProgressBar(refresh_rate=20, leave=False)] if progress_bar and sys.stderr.isatty() else []
    return Trainer(
        accelerator=device,
        devices=devices,
        strategy=strategy,
        precision="32-true" if precision == "auto" else precision,  # a run has chosen before; a check need not
        max_epochs=max_epochs,
        deterministic=deterministic,
        gradient_clip_val=gradient_clip_val or None,
        **_batch_limits(train=limit_train_batches, val=limit_val_batches, test=limit_test_batches),
        default_root_dir=output_dir,
        callbacks=callbacks + bar,
        logger=logger,
        enable_progress_bar=bool(bar),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data module gives each device its part
    )


def _batch_limits(**limits: float) -> dict[str, Any]:
    for split, limit in limits.items():
        if isinstance(limit, float) and limit > 1:
            raise SettingError(f"limit_{split}_batches", limit, "must be a whole number of batches, or a fraction up to 1.0")
    return {f"limit_{split}_batches": limit for split, limit in limits.items()}


def is_first_process() -> bool:
    """False in the processes that a strategy such as ddp starts beside this one."""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0


def device_kind(accelerator: str) -> Literal["cpu", "gpu"]:
    """ "cpu" or "gpu". SettingError where a GPU is asked for and there is none."""
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "gpu" and not there:
        raise SettingError("accelerator", accelerator, "there is no GPU that torch can use here; allowed: auto, cpu")
    return "gpu" if there and accelerator != "cpu" else "cpu"


def best_and_last(folder: Path, objective: str | None, mode: str) -> ModelCheckpoint:
    """Keeps `last.ckpt`, and `best.ckpt` by `objective` (validation data). objective: None selects nothing and keeps the last only."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="best" if objective else "last",
        monitor=objective,
        mode=mode,
        save_top_k=1,
        save_last=objective is not None,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


class EpochReport(Callback):
    """A line and a few figures for each epoch.

    history: one dict an epoch, with "epoch" (from 1) and every metric of that epoch.
    """

    first_step_seen = False

    def __init__(self, log_lr: bool) -> None:
        self.history: list[dict[str, float]] = []
        self.log_lr = log_lr
        self.epoch_start = self.fit_start = 0.0
        self.fit_s = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.fit_start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the epoch's clock."""
        self.epoch_start = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Logs, once a process, the seconds from its start to the end of its first step."""
        if not EpochReport.first_step_seen:
            EpochReport.first_step_seen = True
            seconds = time.time() - psutil.Process().create_time()
            for logger in trainer.loggers:
                logger.log_metrics({"time/first_step_s": seconds}, step=0)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training samples a second, before validation adds its time."""
        seconds = time.perf_counter() - self.epoch_start
        samples = self._train_metrics(pl_module)["loss"].weight.item()
        self.samples_per_s = samples * trainer.world_size / seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch's times, and prints its line. (Runs before the module's hook, which resets the training metrics.)"""
        figures: dict[str, Any] = {"time/epoch_s": time.perf_counter() - self.epoch_start, "speed/samples_per_s": self.samples_per_s}
        if self.log_lr:
            figures["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        pl_module.log_dict(figures)
        figures |= self._train_metrics(pl_module).compute()
        figures |= {name: trainer.callback_metrics[name] for name in ("val/loss", "val/acc")}
        epoch = {name: float(value) for name, value in figures.items()}
        self.history.append({"epoch": trainer.current_epoch + 1, **epoch})
        log.info(
            "epoch %*d/%d  loss %.4f  acc %.4f  val_loss %.4f  val_acc %.4f  %.1f s",
            len(str(trainer.max_epochs)), trainer.current_epoch + 1, trainer.max_epochs,
            epoch["train/loss"], epoch["train/acc"], epoch["val/loss"], epoch["val/acc"], epoch["time/epoch_s"],
        )  # fmt: skip

    def _train_metrics(self, pl_module: LightningModule) -> Any:
        return pl_module.train_metrics

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self.fit_s = time.perf_counter() - self.fit_start


class Stopped(BaseException):
    """A signal asked the process to end. exit_code: 128 + the signal's number, as a shell reports it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


class StopAtBatchEnd(Callback):
    """SIGTERM and Ctrl-C end the run: in training or validation at the batch's end, elsewhere at once. A second one ends the process."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signum: int | None = None
        self.in_loop = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals until the block is left."""
        before = {signum: signal.signal(signum, self._handle) for signum in self.SIGNALS}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum
        if not self.in_loop:
            raise Stopped(signum)
        os.write(2, b"\nstopping at the end of this batch; once more to stop at once\n")

    def _check(self) -> None:
        if self.signum is not None:
            raise Stopped(self.signum)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning has put its own SIGTERM handler in place, after which a killed run exits with 0: take it back."""
        for signum in self.SIGNALS:
            signal.signal(signum, self._handle)
        self.in_loop = True
        self._check()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The place where training stops."""
        self._check()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """The place where validation stops."""
        self._check()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal acts at once."""
        self.in_loop = False
        self._check()
