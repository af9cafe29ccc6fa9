"""Make the Lightning Trainer."""

import importlib.util
import logging
import os
import shutil
import sys
from typing import Annotated, Any, Literal

import torch
from lightning_fabric.plugins import CheckpointIO
from pydantic import Field
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.loggers import Logger

from tunebook import machine
from tunebook.config.validation import (
    Count,
    Name,
    NonNegative,
    Positive,
    PositiveSeconds,
    SettingError,
    validate_args,
)

for library in ("pytorch_lightning", "lightning_fabric"):
    # Lightning's advice is meant for the author of a training script.
    logging.getLogger(library).setLevel(logging.WARNING)

Devices = Count | Literal["auto"]
# Limited, because each epoch's metrics stay in memory and in every checkpoint.
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Accumulated = Annotated[int, Field(ge=1, le=1_000_000)]
# The settings of `trainer` that are not Lightning's: `GracefulShutdown` and the task use them.
FURTHER: dict[str, Any] = {"max_time": PositiveSeconds | None, "compile": bool}
# `CheckpointCallback` saves checkpoints, and the data module splits each batch among the devices.
ALWAYS: dict[str, Any] = {
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}
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
    accumulate_grad_batches: Accumulated,
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
        accumulate_grad_batches=accumulate_grad_batches,
        **_batch_limits(train=limit_train_batches, val=limit_val_batches, test=limit_test_batches),
        default_root_dir=output_dir,
        callbacks=callbacks + bar,
        plugins=[checkpoint_io],
        logger=logger,
        enable_progress_bar=bool(bar),
        **ALWAYS,
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
        most, what = max(1, torch.cuda.device_count()), "the number of GPUs"
    else:
        most, what = (
            max(2, machine.processors()),
            "one process per available processor, or 2",
        )
    if isinstance(devices, int) and devices > most:
        raise SettingError("devices", devices, f"must be at most {most}: {what}")


def _bar(wanted: bool) -> list[Callback]:
    """Return a progress bar if it is wanted and the output is a terminal or a notebook.

    In a file each refresh would be a line of its own.
    """
    if not wanted:
        return []
    if _is_notebook():
        return [TrainingBar(refresh_rate=20)]
    return [TQDMProgressBar(refresh_rate=20, leave=False)] if sys.stderr.isatty() else []


class TrainingBar(TQDMProgressBar):
    """Show a progress bar of training alone.

    Below it, the bar of validation would leave empty lines in a notebook.
    """

    def init_validation_tqdm(self) -> Tqdm:
        """Return a bar that is not shown."""
        return Tqdm(disable=True)

    def init_test_tqdm(self) -> Tqdm:
        """Return a bar that is not shown."""
        return Tqdm(disable=True)


def _is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _batch_limits(**limits: float) -> dict[str, Any]:
    for split, limit in limits.items():
        if isinstance(limit, float) and limit > 1:
            raise SettingError(
                f"limit_{split}_batches",
                limit,
                "must be a whole number of batches, or a fraction up to 1.0",
            )
    return {f"limit_{split}_batches": limit for split, limit in limits.items()}


def check_compiler(device: Literal["cpu", "gpu"]) -> None:
    """Raise SettingError if torch.compile lacks what it generates code with on this machine."""
    if device == "cpu":
        compiler = os.environ.get("CXX", "g++")
        missing = "" if shutil.which(compiler) else f"a C++ compiler ({compiler})"
    else:
        missing = "" if importlib.util.find_spec("triton") else "the package triton"
    if missing:
        raise SettingError("trainer.compile", True, f"torch.compile needs {missing}")


def device_kind(accelerator: str) -> Literal["cpu", "gpu"]:
    """Return "cpu" or "gpu"; raise SettingError if a GPU is requested and there is none."""
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "gpu" and not has_gpu:
        raise SettingError(
            "accelerator",
            accelerator,
            "torch finds no GPU on this machine; allowed: auto, cpu",
        )
    return "gpu" if has_gpu and accelerator != "cpu" else "cpu"
