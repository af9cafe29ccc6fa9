"""Connect a run with the sweep that it belongs to, if there is one."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Trial:
    """Describe a run's place in a sweep; this base class is for a run in none.

    name: of its MLflow run; "" names it after the settings that differ from the defaults.
    parent: the key of the sweep's own run.
    tests: whether the test set may be used. A search compares its trials by validation figures,
    and only the trial that is chosen in the end is tested.
    """

    name = parent = ""
    option = ""  # of the config group `sweep`, if it is in one
    epochs = 0  # how many were trained, once training is over
    tags: Mapping[str, str] = {}
    tests = True
    pruned_at_epoch = 0  # the epoch at which the run was pruned; 0 if it was not
    figures: Mapping[str, float] = {}  # of the test, once it is over

    def report(self, epoch: int, value: float) -> bool:
        """Report an epoch's objective, and return whether the run is to be pruned.

        epoch: counted from 1.
        """
        return False

    def end_tags(self, status: str, error: BaseException | None) -> dict[str, str]:
        """Return the tags that the run gets at its end.

        status: FINISHED, FAILED or KILLED. error: what ended the run, if not FINISHED.
        """
        return {}


class PruningCallback(Callback):
    """End training after an epoch where the sweep prunes the run."""

    def __init__(self, trial: Trial, objective: str | None) -> None:
        self.trial, self.objective = trial, objective

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch at which the run was pruned, for a resumed run."""
        return {"pruned_at_epoch": self.trial.pruned_at_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.trial.pruned_at_epoch = state_dict["pruned_at_epoch"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch's objective, since validation is over here, and stop if pruned."""
        if self.objective is None:
            return
        epoch = trainer.current_epoch + 1
        stop = trainer.is_global_zero and self.trial.report(
            epoch, float(trainer.callback_metrics[self.objective])
        )
        # The processes of all devices must stop together, or some would wait for ever.
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop and epoch < (trainer.max_epochs or 0):
            self.trial.pruned_at_epoch = epoch
            trainer.should_stop = True
