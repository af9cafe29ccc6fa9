"""Check that a checkpoint's state fits the objects of a run.

State that doesn't fit would cause an error in the middle of the run, or change its result.
"""

from typing import Any

import torch
from torch import nn

from tunebook.networks import FineTunedNetwork
from tunebook.runs.assemble import RunComponents
from tunebook.runs.stand_ins import parameters_of, stand_in_optimizer
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
    optimizer = stand_in_optimizer(
        parts.task, lambda weight: nn.Parameter(torch.zeros(weight.shape, dtype=weight.dtype))
    )
    schedule = parts.task.make_schedule(optimizer)["scheduler"]
    for weight in parameters_of(optimizer):
        weight.grad = torch.zeros_like(weight)
    optimizer.step()  # creates its state
    may_lack = isinstance(parts.task.network, FineTunedNetwork)
    problem = _optimizer_misfit(optimizer.state_dict(), content["optimizer_states"][0], may_lack)
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


def _optimizer_misfit(expected: dict[str, Any], found: Any, may_lack: bool) -> str:
    """Return how an optimizer's state differs from what is expected, or "" if it fits.

    may_lack: whether there may be parameters without state. There are none before the first step,
    while a parameter is frozen, and if the network does not use one.
    """
    where = "optimizer_states"
    if not isinstance(found, dict) or not isinstance(found.get("state"), dict):
        return f"{where} has unexpected content"
    filled = expected
    if may_lack or not found["state"]:
        filled = expected | {
            "state": {i: state for i, state in expected["state"].items() if i in found["state"]}
        }
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
