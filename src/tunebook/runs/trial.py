"""Connect a run to the sweep that it belongs to, if there is one."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Trial:
    """Describe a run's role in a sweep; this base class is for a run without a sweep.

    name: the name of the MLflow run; "" names it after the settings that differ from the defaults.
    parent: the key of the sweep's parent run.
    tests: whether the test set may be used. A search compares its trials by validation metrics,
    and only the trial chosen in the end is tested.
    """

    name = parent = ""
    option = ""  # the option of the config group `sweep`, if the run is in a sweep
    epochs = 0  # the number of trained epochs, set after training
    tags: Mapping[str, str] = {}
    tests = True
    pruned_at_epoch = 0  # the epoch at which the run was pruned; 0 where it was not
    figures: Mapping[str, float] = {}  # of the test, once it is over
    # The following are set once training is over.
    history: Sequence[Mapping[str, float]] = ()  # each epoch's figures
    curve: Mapping[int, float] = {}  # epoch -> objective; empty where no epoch may be picked by it
    value: float | None = None  # the objective of the best epoch

    def report(self, epoch: int, value: float) -> bool:
        """Report an epoch's objective, and return whether to prune the run.

        epoch: counted from 1.
        """
        return False

    def require_weights(self, digest: str) -> None:
        """Raise InputError if the run must start from other pretrained weights.

        digest: their SHA-256.
        """

    def finish(self) -> None:
        """Keep the run's results, once training and test are over; the record is closed next."""

    def end_tags(self, status: str, error: BaseException | None) -> dict[str, str]:
        """Return the tags that are added to the run at its end.

        status: FINISHED, FAILED or KILLED. error: what ended the run, if not FINISHED.
        """
        return {}


class PruningCallback(Callback):
    """End training after the epoch at which the sweep prunes the run."""

    def __init__(self, trial: Trial, objective: str | None) -> None:
        self.trial, self.objective = trial, objective

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch at which the run was pruned, for a resumed run."""
        return {"pruned_at_epoch": self.trial.pruned_at_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.trial.pruned_at_epoch = state_dict["pruned_at_epoch"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the objective, which is known after validation, and stop if the run is pruned."""
        if self.objective is None:
            return
        epoch = trainer.current_epoch + 1
        stop = trainer.is_global_zero and self.trial.report(
            epoch, float(trainer.callback_metrics[self.objective])
        )
        # The processes of all devices must stop together, or some would wait forever.
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop and epoch < (trainer.max_epochs or 0):
            self.trial.pruned_at_epoch = epoch
            trainer.should_stop = True
