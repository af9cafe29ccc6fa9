"""A sweep's trials that differ in their seed only, taken together: median and 95 % interval."""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from tunebook.analysis.leaderboard import Configuration, leaderboard
from tunebook.analysis.results import Results, Run
from tunebook.sweep.space import Space, in_short

TESTED = "test/acc"


def over_seeds(trials: Sequence[FrozenTrial], space: Space, objective: str, direction: str) -> list[list[str]]:
    """Rows of a table below the names of its columns: n, the objective, test/acc where there is one, settings. [] without seeds."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE and "seed" in trial.params and trial.value is not None]
    found = _grouped(done, {trial.number: float(trial.value or 0.0) for trial in done}, direction)
    if not any(one.n > 1 for one in found):
        return []
    tests = {trial.number: float(trial.user_attrs[TESTED]) for trial in done if TESTED in trial.user_attrs}
    tested = {_numbers(one): one for one in _grouped([trial for trial in done if trial.number in tests], tests, direction)}
    rows = [["n", objective, *([TESTED] if tests else []), "settings"]]
    for one in found:
        test = tested.get(_numbers(one))
        rows.append([str(one.n), _said(one), *([_said(test) if test else ""] if tests else []), in_short(space.overrides(one.values))])
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


def _said(one: Configuration) -> str:
    return f"{one.median:.4f}" + ("" if math.isnan(one.half_width) else f" +- {one.half_width:.4f}")
