"""Check that a checkpoint's state fits the objects of a run.

State that doesn't fit would cause an error in the middle of the run, or change its result.
"""

from typing import Any

import torch
from torch import nn

from tunebook.runs.assemble import RunComponents
from tunebook.training.checkpoint import CheckpointError, Content
from tunebook.training.checkpoint_contents import is_count, misfit
from tunebook.training.position import Position

# The integers in a schedule's state that change during a run.
MOVING = ("last_epoch", "_step_count", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i")


def require_fit(content: Content, parts: RunComponents, changed: set[str], name: str) -> None:
    """Raise CheckpointError if the state of optimizer, schedule or callbacks doesn't fit.

    It must have the shape that the settings of `parts` give it.
    changed: the settings that differ from the run's, with the user's permission.
    """
    stand_ins = [
        nn.Parameter(torch.zeros(weight.shape, dtype=weight.dtype))
        for weight in parts.task.network.parameters()
    ]
    optimizer = parts.task.make_optimizer(iter(stand_ins))
    schedule = parts.task.make_schedule(optimizer)["scheduler"]
    for weight in stand_ins:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()  # creates its state
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
        return f"{where} has unexpected content"
    # The state is empty before the first step.
    filled = expected if found["state"] else expected | {"state": {}}
    if problem := misfit(filled, found, where):
        return problem
    orders = zip(filled["param_groups"], found["param_groups"], strict=True)
    return (
        f"{where} has its parameters in a different order"
        if any(a["params"] != b["params"] for a, b in orders)
        else ""
    )


def _schedule_misfit(expected: dict[str, Any], found: Any, position: Position) -> str:
    where = "lr_schedulers"
    if problem := misfit(expected, found, where):
        return problem
    for key, value in expected.items():
        if type(value) is int and key not in MOVING and found[key] != value:
            return f"{where}.{key} is {found[key]}, but these settings give {value}"
    steps = found.get("last_epoch", 0)
    return (
        ""
        if is_count(steps) and steps <= position.step + 1
        else f"{where}.last_epoch is beyond the run's position"
    )
