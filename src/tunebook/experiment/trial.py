"""What a run has to do with a sweep: nothing, unless a worker says so."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Trial:
    """A run's place in a sweep. This one: in none.

    name: of its MLflow run; "": what differs from the default. parent: the key of the sweep's own run. tests: whether the test set may
    be used: the trials of a search are compared by validation figures, and only the one that is taken in the end is tested.
    """

    name = parent = ""
    option = ""  # of the group `sweep`, where it is in one
    epochs = 0  # trained, once it is
    tags: Mapping[str, str] = {}
    tests = True
    given_up_at = 0  # an epoch, once it is
    figures: Mapping[str, float] = {}  # of the test, once there are

    def report(self, epoch: int, value: float) -> bool:
        """Tells an epoch's objective, epochs counted from 1. Whether the run is to be given up, since others do better."""
        return False

    def end_tags(self, status: str, error: BaseException | None) -> dict[str, str]:
        """What the run says of itself at its end. status: FINISHED, FAILED or KILLED."""
        return {}


class GiveUp(Callback):
    """Ends training after an epoch where the sweep says so."""

    def __init__(self, trial: Trial, objective: str | None) -> None:
        self.trial, self.objective = trial, objective

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know."""
        return {"given_up_at": self.trial.given_up_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it up again."""
        self.trial.given_up_at = state_dict["given_up_at"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is over here."""
        if self.objective is None:
            return
        epoch = trainer.current_epoch + 1
        stop = trainer.is_global_zero and self.trial.report(
            epoch, float(trainer.callback_metrics[self.objective])
        )
        if (
            trainer.world_size > 1
        ):  # all devices' processes stop together, or some would wait for ever
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop and epoch < (trainer.max_epochs or 0):
            self.trial.given_up_at = epoch
            trainer.should_stop = True
