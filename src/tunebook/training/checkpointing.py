"""Decide when checkpoints are written and which ones are kept: the last two and the best."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from tunebook.config.validation import Positive, validate_args
from tunebook.run_folder import BEST, LAST
from tunebook.training import checkpoint
from tunebook.training.checkpoint import VerifiedCheckpoints
from tunebook.training.position import Position, write_progress

log = logging.getLogger(__name__)

TRY_AGAIN_S = 10.0  # after a failed write


class CheckpointCallback(Callback):
    """Write a run's checkpoints.

    `last.ckpt` is written before the first step, at each epoch's start, every `checkpoint_every_s`
    seconds and at the end; the one before it is kept as `previous.ckpt`. `best.ckpt`, with weights
    only, is written when an epoch's `objective` is the best so far. A failed write does not stop
    the run: the file before it is kept, and the write is tried again.

    objective: None keeps no best checkpoint. mode: "max" or "min".
    run_metadata: plain values that are saved in every checkpoint in addition to the state.
    """

    @validate_args
    def __init__(
        self,
        folder: Path,
        files: VerifiedCheckpoints,
        objective: str | None,
        mode: str,
        checkpoint_every_s: Positive,
        run_metadata: Mapping[str, Any],
    ) -> None:
        self.files, every_s = files, checkpoint_every_s
        self.folder, self.objective, self.sign, self.every_s = (
            folder,
            objective,
            1 if mode == "max" else -1,
            every_s,
        )
        self.run_metadata = dict(run_metadata)
        self.best_score: float | None = None
        # Kept here only until they are written to the disk.
        self.best_weights: dict[str, Any] | None = None
        self.unsaved = ""  # why the last save failed
        self._position = Position(0, 0, 0)
        self._next_save = 0.0
        self._is_unusable = False

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far, for a resumed run."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best_score = state_dict["best_score"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Create the folder, and remove unfinished files of a killed run from it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint.remove_partial_files(self.folder)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the metadata and the position to what Lightning saves."""
        checkpoint["tunebook"] = dict(self.run_metadata)
        write_progress(checkpoint, self._position)

    def save(self, trainer: Trainer, done: int, epoch: int | None = None) -> None:
        """Write `last.ckpt`, unless gradients are waiting for further batches of their step.

        done: the number of completed training batches of the epoch. epoch: None means the trainer's
        current epoch.
        """
        unusable = _not_finite(trainer.lightning_module)
        if unusable:  # no run can resume from these weights
            if self._is_unusable:  # the loss since then did not reveal it
                self._log_changes(f"{unusable} is not finite")
            self._is_unusable = True
            return
        self._is_unusable = False
        position = Position(
            trainer.current_epoch if epoch is None else epoch,
            done,
            int(trainer.num_training_batches),
            trainer.accumulate_grad_batches,
        )
        if not position.is_between_steps:
            return  # the next batches will finish the step
        self._position = position
        trainer.save_checkpoint(self.folder / LAST)
        self._log_changes(self.files.problem)
        self._next_save = time.monotonic() + (TRY_AGAIN_S if self.unsaved else self.every_s)

    def _log_changes(self, problem: str) -> None:
        """Log when writing checkpoints starts to fail, and when it works again."""
        if problem and not self.unsaved:
            log.warning(
                "no checkpoint could be written (%s); training continues, and will retry",
                problem,
            )
        if self.unsaved and not problem:
            log.info("checkpoints can be written again")
        self.unsaved = problem

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint before the first step, so that there is always one."""
        if trainer.global_step == 0:
            self.save(trainer, 0)
        self._next_save = time.monotonic() + self.every_s

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint between two epochs.

        The epoch before is complete here, including its schedule's step.
        """
        if trainer.current_epoch > 0:
            self.save(trainer, 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint within an epoch when it is due."""
        due = time.monotonic() >= self._next_save
        if trainer.world_size > 1:  # their clocks differ, but all processes save together
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due and batch_idx + 1 < trainer.num_training_batches:
            self.save(trainer, batch_idx + 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights of the best epoch so far."""
        if self.objective is None:
            return
        score = float(trainer.callback_metrics[self.objective])
        if self.best_score is None or self.sign * score > self.sign * self.best_score:
            self.best_score = score
            self.best_weights = {
                name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()
            }
            self._best_epoch = trainer.current_epoch
        self._save_best(trainer)

    def _save_best(self, trainer: Trainer) -> None:
        if self.best_weights is None or not trainer.is_global_zero:
            return
        content = {
            "state_dict": self.best_weights,
            "epoch": self._best_epoch,
            "tunebook": self.run_metadata,
        }
        try:
            checkpoint.write(self.folder / BEST, content)
            self.best_weights = None
        except OSError as error:
            self._log_changes(str(error.strerror or error))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make a resumed epoch end like any other.

        Otherwise Lightning would skip the step of a plateau schedule.
        """
        trainer.fit_loop.restarting = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint at the end of training, because the test may be interrupted."""
        self._save_best(trainer)
        self.run_metadata["trained"] = True
        self.save(trainer, 0, epoch=trainer.current_epoch)


def _not_finite(module: LightningModule) -> str:
    """Return the name of a parameter that holds NaN or infinity; "" if none does."""
    return next(
        (name for name, value in module.named_parameters() if not torch.isfinite(value).all()), ""
    )
