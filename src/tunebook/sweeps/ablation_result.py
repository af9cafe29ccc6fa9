"""Turn the finished trials of an ablation into its report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tunebook.metrics.facts import Direction
from tunebook.report.ablation import Ablation, Configuration, Failure, report
from tunebook.sweeps.plan import FinishedTrial, SweepRecord
from tunebook.sweeps.space import Value, as_text, shortened

if TYPE_CHECKING:
    from tunebook.sweeps.ablation import AblationPlan, PathStep

UNFINISHED = "the sweep has not finished"


def conclude(
    plan: "AblationPlan", finished: Sequence[FinishedTrial], record: SweepRecord, of: str
) -> None:
    """Print the path, and write the report.

    of: the sweep whose winner is explained.
    """
    report(ablation_of(plan, finished, record, of), record.outputs, record.uri)


def ablation_of(
    plan: "AblationPlan", finished: Sequence[FinishedTrial], record: SweepRecord, of: str
) -> Ablation:
    """Return the path of the finished trials, as plain values."""
    path = plan.path(finished)
    steps = [
        Configuration(
            step.keys,
            tuple(_change_text(plan, key, before, step) for key in step.keys),
            tuple(plan.space.overrides(step.settings)),
            step.values,
        )
        for before, step in zip(path.steps[:1] + path.steps, path.steps, strict=False)
    ]
    failures = [Failure(one.keys, one.before, one.errors) for one in path.failed]
    direction: Direction = "max" if plan.direction == "maximize" else "min"
    return Ablation(
        record.name, of, record.objective, direction, record.words, tuple(steps), tuple(failures),
        path.ended or UNFINISHED,
    )  # fmt: skip


def _change_text(plan: "AblationPlan", key: str, before: "PathStep", after: "PathStep") -> str:
    """Return a change with its two values, such as `optimizer.lr: 1.0 -> 0.5`."""
    values = [_values(plan, step.settings).get(key) for step in (before, after)]
    if key not in _values(plan, before.settings):  # changed together with its option
        return f"{key}: {shortened(as_text(values[1]))}"
    old, new = (shortened(as_text(value)) for value in values)
    return f"{key}: {old} -> {new}"


def _values(plan: "AblationPlan", settings: Mapping[str, Value]) -> dict[str, Value]:
    return {one.key: settings[one.name] for one in plan.space.dimensions if one.name in settings}
