"""Adapt a checkpoint to settings that the user changed before resuming.

State that is still valid is kept; the rest is reset.
"""

from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from tunebook.config.validation import InputError
from tunebook.metrics.facts import VALIDATION, split_of
from tunebook.metrics.running import SAVED_METRICS
from tunebook.runs.assemble import RunComponents, batches_of
from tunebook.runs.stand_ins import stand_in_optimizer
from tunebook.text_output import counted
from tunebook.training.checkpoint import Content
from tunebook.training.position import Position, write_progress

STEERING = (
    "optimizer",
    "scheduler",
    "objective",
    "trainer.max_epochs",
    "data.batch_size",
    "model.backbone_lr_factor",
    "trainer.limit_train_batches",
    "trainer.accumulate_grad_batches",
)
# What decides the content of a step; "train" is the digest of the training set.
BATCHES = (
    "data", "train", "seed", "trainer.limit_train_batches", "trainer.accumulate_grad_batches",
)  # fmt: skip


def adapt_checkpoint(content: Content, changed: set[str], parts: RunComponents) -> None:
    """Adapt a checkpoint to `parts`, given the settings that differ.

    A different optimizer starts without state. New settings of the same optimizer apply from here
    on, and the schedule continues as if they had applied from the start. If batches change, the
    epoch starts again. A different network can't be resumed: `load_weights` and Lightning refuse
    it.
    Raises InputError for an objective that was not computed in the epochs so far.
    """
    position = Position.of(content)
    _require_objective(content, parts.settings["objective"])
    if "model.weights" in changed:
        raise InputError("model.weights: can't be changed, as the run has its own weights already")
    if _touches(changed, BATCHES):
        trainer = parts.settings["trainer"]
        batches, accumulated = batches_of(trainer, parts.data), trainer["accumulate_grad_batches"]
        position = Position(position.epoch, 0, batches, accumulated)
        content[SAVED_METRICS] = []
    if _touches(changed, STEERING):
        _steer(content, position, parts, fresh="optimizer" in changed)
    content["tunebook"].pop("trained", None)
    write_progress(content, position)


def _require_objective(content: Content, objective: str) -> None:
    epochs = history(content)
    if any(objective not in epoch for epoch in epochs):
        known = set.intersection(*map(set, epochs))
        allowed = ", ".join(sorted(name for name in known if split_of(name) == VALIDATION))
        so_far = f"the {counted(len(epochs), 'epoch')} so far"
        raise InputError(f"objective={objective}: was not computed in {so_far}; allowed: {allowed}")


def _touches(changed: set[str], keys: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for key in changed for prefix in keys)


def _steer(content: Content, position: Position, parts: RunComponents, fresh: bool) -> None:
    """Set the optimizer's settings and the schedule as if they had applied from the start.

    fresh: whether the optimizer's state is reset as well.
    """
    optimizer = stand_in_optimizer(parts.task)
    config = parts.task.make_schedule(optimizer)
    schedule = config["scheduler"]
    optimizer.step()  # changes nothing without gradients; a schedule's step must come after one
    if isinstance(schedule, ReduceLROnPlateau):
        for epoch in history(content):
            schedule.step(epoch[config["monitor"]])
    else:
        for _ in range(position.step if config["interval"] == "step" else position.epoch):
            schedule.step()
    state = content["optimizer_states"][0]
    if fresh:
        state["state"] = {}
    state["param_groups"] = optimizer.state_dict()["param_groups"]
    content["lr_schedulers"] = [schedule.state_dict()]


def history(content: Content) -> list[dict[str, Any]]:
    """Return the metrics of each epoch so far, in order."""
    found: list[dict[str, Any]] = content["callbacks"]["EpochLogger"]["history"]
    return found
