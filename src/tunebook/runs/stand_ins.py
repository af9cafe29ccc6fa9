"""Make a run's optimizer on stand-ins of its parameters, to try it without the network."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from tunebook.task import ClassificationTask

Replace = Callable[[nn.Parameter], nn.Parameter]


def stand_in_optimizer(
    task: ClassificationTask, replace: Replace | None = None
) -> torch.optim.Optimizer:
    """Return the task's optimizer for stand-ins in the same groups and in the same order.

    replace: makes the stand-in of a parameter; None: one number, with as many dimensions.
    """
    make = replace or _one_number
    groups: list[Any] = [
        group | {"params": [make(each) for each in group["params"]]}
        if isinstance(group, dict)
        else make(group)
        for group in task.parameter_groups()
    ]
    return task.make_optimizer(groups)


def _one_number(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.zeros([1] * parameter.ndim, dtype=parameter.dtype))


def parameters_of(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    """Yield an optimizer's parameters."""
    for group in optimizer.param_groups:
        yield from group["params"]
