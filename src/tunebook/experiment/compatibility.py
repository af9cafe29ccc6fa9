"""Whether a checkpoint's state fits the objects of a run: what doesn't would end in an error in the middle of it, or in another run."""

from typing import Any

import torch
from torch import nn

from tunebook.experiment.assembly import Parts
from tunebook.recovery.checkpoint import CheckpointError, Content
from tunebook.recovery.contents import is_count, misfit
from tunebook.recovery.position import Position

MOVING = (
    "last_epoch",
    "_step_count",
    "num_bad_epochs",
    "cooldown_counter",
    "T_cur",
    "T_i",
)  # of a schedule's whole numbers


def require_fit(content: Content, parts: Parts, changed: set[str], name: str) -> None:
    """CheckpointError unless the state of optimizer, schedule and callbacks has the shape that these settings give it.

    changed: the settings that differ from the run's by the user's leave.
    """
    stand_ins = [
        nn.Parameter(torch.zeros(weight.shape, dtype=weight.dtype))
        for weight in parts.classifier.network.parameters()
    ]
    optimizer = parts.classifier.make_optimizer(iter(stand_ins))
    schedule = parts.classifier.make_schedule(optimizer)["scheduler"]
    for weight in stand_ins:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()  # which makes the state
    problem = _optimizer_misfit(optimizer.state_dict(), content["optimizer_states"][0])
    problem = problem or _schedule_misfit(
        schedule.state_dict(), content["lr_schedulers"][0], Position.of(content)
    )
    for callback in parts.callbacks:
        expected, key = callback.state_dict(), callback.state_key
        is_new = key not in content["callbacks"] and any(
            name.startswith(("callbacks", "objective")) for name in changed
        )
        if expected and not is_new:
            problem = problem or misfit(expected, content["callbacks"].get(key), f"callbacks.{key}")
    if problem:
        raise CheckpointError(f"{name}: {problem}")


def _optimizer_misfit(expected: dict[str, Any], found: Any) -> str:
    where = "optimizer_states"
    if not isinstance(found, dict) or not isinstance(found.get("state"), dict):
        return f"{where} is not what a run writes there"
    filled = (
        expected if found["state"] else expected | {"state": {}}
    )  # before the first step it is empty
    if problem := misfit(filled, found, where):
        return problem
    orders = zip(filled["param_groups"], found["param_groups"], strict=True)
    return (
        f"{where} has its parameters in another order"
        if any(a["params"] != b["params"] for a, b in orders)
        else ""
    )


def _schedule_misfit(expected: dict[str, Any], found: Any, position: Position) -> str:
    where = "lr_schedulers"
    if problem := misfit(expected, found, where):
        return problem
    for key, value in expected.items():
        if type(value) is int and key not in MOVING and found[key] != value:
            return f"{where}.{key} is {found[key]}, where these settings give {value}"
    steps = found.get("last_epoch", 0)
    return (
        ""
        if is_count(steps) and steps <= position.step + 1
        else f"{where}.last_epoch is beyond the run's position"
    )
