"""A sweep's trials that differ in their seed only, taken together: median and 95 % interval."""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from tunebook.analysis.leaderboard import Configuration, leaderboard
from tunebook.analysis.results import Results, Run
from tunebook.sweep.request import TESTED, Request
from tunebook.sweep.space import Space, in_short


def over_seeds(trials: Sequence[FrozenTrial], space: Space, request: Request) -> list[list[str]]:
    """Rows of a table below the names of its columns: n, the objective, test/acc where there is one, settings. [] without seeds.

    A final sweep's trials were trained on the validation images, whose figures are left out.
    """
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE and "seed" in trial.params and trial.value is not None]
    tests = {trial.number: float(trial.user_attrs[TESTED]) for trial in done if TESTED in trial.user_attrs}
    values = {trial.number: float(trial.value or 0.0) for trial in done}
    columns = {TESTED: tests} if request.is_final else {request.objective: values, **({TESTED: tests} if tests else {})}
    found = {
        name: _grouped([trial for trial in done if trial.number in figures], figures, request.direction)
        for name, figures in columns.items()
    }
    first, *_ = found.values()
    if not any(one.n > 1 for one in first):
        return []
    rows = [["n", *found, "settings"]]
    for one in first:
        same = [{_numbers(other): other for other in others}.get(_numbers(one)) for others in found.values()]
        said = ["" if other is None else _said(other, name) for name, other in zip(found, same, strict=True)]
        rows.append([str(one.n), *said, in_short([*request.winner, *space.overrides(one.values)])])
    return rows


def _grouped(trials: Sequence[FrozenTrial], values: dict[int, float], direction: str) -> tuple[Configuration, ...]:
    runs = tuple(
        Run(
            str(trial.number),
            "",
            {k: v for k, v in trial.params.items() if k != "seed"},
            trial.params["seed"],
            "complete",
            values[trial.number],
        )
        for trial in trials
    )
    return leaderboard(Results("", "", "max" if direction == "maximize" else "min", (), runs))


def _numbers(one: Configuration) -> frozenset[str]:
    return frozenset(run.run_id for run in one.runs)


def _said(one: Configuration, metric: str) -> str:
    scale, digits, unit = (100, 2, " %") if metric.endswith("acc") else (1, 4, "")
    spread = "" if math.isnan(one.half_width) else f" +- {scale * one.half_width:.{digits}f}"
    return f"{scale * one.median:.{digits}f}{spread}{unit}"
