"""Make the Lightning Trainer, and report each epoch's metrics and times."""

import logging
import sys
import time
from typing import Annotated, Any, Literal

import psutil
import torch
from lightning_fabric.plugins import CheckpointIO
from pydantic import Field
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import Logger

from tunebook import machine
from tunebook.checks import Count, Name, NonNegative, Positive, SettingError, validate_args

log = logging.getLogger(__name__)

for library in ("pytorch_lightning", "lightning_fabric"):
    # Lightning's advice is meant for the author of a training script.
    logging.getLogger(library).setLevel(logging.WARNING)

Devices = Count | Literal["auto"]
# Limited, because each epoch's metrics stay in memory and in every checkpoint.
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Limit = Count | Positive  # a number of batches, or a fraction of them


@validate_args
def make_trainer(
    accelerator: Literal["auto", "cpu", "gpu"],
    devices: Devices,
    strategy: Literal["auto", "ddp"],
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"],
    max_epochs: Epochs,
    deterministic: bool,
    gradient_clip_val: NonNegative,
    limit_train_batches: Limit,
    limit_val_batches: Limit,
    limit_test_batches: Limit,
    progress_bar: bool,
    output_dir: Name,
    callbacks: list[Callback],
    checkpoint_io: CheckpointIO,
    logger: Logger,
) -> Trainer:
    """Return a Trainer; the arguments have the names and meanings of Lightning's.

    Raises SettingError if the machine does not have the requested devices.
    """
    device = device_kind(accelerator)
    _check_device(device, devices, precision)
    bar = _bar(progress_bar)
    return Trainer(
        accelerator=device,
        devices=devices,
        strategy=strategy,
        precision="32-true" if precision == "auto" else precision,  # "auto": a check only
        max_epochs=max_epochs,
        deterministic=deterministic,
        gradient_clip_val=gradient_clip_val or None,
        **_batch_limits(train=limit_train_batches, val=limit_val_batches, test=limit_test_batches),
        default_root_dir=output_dir,
        callbacks=callbacks + bar,
        plugins=[checkpoint_io],
        enable_checkpointing=False,  # recovery.CheckpointCallback saves them
        logger=logger,
        enable_progress_bar=bool(bar),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data module splits each batch among the devices
    )


def _check_device(device: Literal["cpu", "gpu"], devices: Devices, precision: str) -> None:
    """Raise SettingError for too many devices, or for a precision that the CPU does not support.

    On the CPU, each device is a process.
    """
    if device == "cpu" and precision == "16-mixed":
        raise SettingError(
            "precision", precision, "needs a GPU; allowed on the CPU: auto, 32-true, bf16-mixed"
        )
    if device == "gpu":
        most, what = max(1, torch.cuda.device_count()), "the GPUs that are there"
    else:
        most, what = (
            max(2, machine.processors()),
            "a process for each processor that may be used, or 2",
        )
    if isinstance(devices, int) and devices > most:
        raise SettingError("devices", devices, f"must be at most {most}: {what}")


def _bar(wanted: bool) -> list[Callback]:
    """Return a progress bar if it is wanted and the output is a terminal.

    In a file, each refresh would be a separate line.
    """
    return [TQDMProgressBar(refresh_rate=20, leave=False)] if wanted and sys.stderr.isatty() else []


def _batch_limits(**limits: float) -> dict[str, Any]:
    for split, limit in limits.items():
        if isinstance(limit, float) and limit > 1:
            raise SettingError(
                f"limit_{split}_batches",
                limit,
                "must be a whole number of batches, or a fraction up to 1.0",
            )
    return {f"limit_{split}_batches": limit for split, limit in limits.items()}


def device_kind(accelerator: str) -> Literal["cpu", "gpu"]:
    """Return "cpu" or "gpu"; raise SettingError if a GPU is requested and there is none."""
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "gpu" and not there:
        raise SettingError(
            "accelerator",
            accelerator,
            "there is no GPU that torch can use here; allowed: auto, cpu",
        )
    return "gpu" if there and accelerator != "cpu" else "cpu"


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
