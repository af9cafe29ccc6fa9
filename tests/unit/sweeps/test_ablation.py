"""The plan of an ablation finds the greedy path, and trains no configuration twice."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebook.sweeps.ablation import (
    ARRIVED,
    MAX_GREEDY,
    NO_DEFAULTS,
    NO_WINNER,
    AblationPath,
    AblationPlan,
)
from tunebook.sweeps.changes import Change, Changes
from tunebook.sweeps.plan import FinishedTrial, PlanEnded, settings_key
from tunebook.sweeps.space import Dimension, Space, Value

SEEDS = (1, 2, 3)
# The objective of a configuration, from the keys that have the winner's value; None if it fails.
Objective = Callable[[frozenset[str], int], float | None]


def space_of(*dimensions: tuple[str, Value, Value, tuple[str, str] | None]) -> Space:
    """Return a space of (key, default, winner's value, condition)."""
    found = [Dimension(key, "", (old, new), when=when) for key, old, new, when in dimensions]
    return Space(tuple(found), {})


def plan_of(changes: Sequence[Change], space: Space | None = None, **given: object) -> AblationPlan:
    keys = [(one.key, 0, 1, None if one.after is None else (one.after, "1")) for one in changes]
    whole = Changes(tuple(changes), space or space_of(*keys))
    direction = given.get("direction", "maximize")
    assert direction in ("maximize", "minimize")
    return AblationPlan("found", Path("none"), whole, SEEDS, direction)


def flipped(plan: AblationPlan, settings: Mapping[str, Value]) -> frozenset[str]:
    values = {one.name: one for one in plan.space.dimensions}
    return frozenset(
        values[name].key for name, value in settings.items() if value == values[name].values[1]
    )


def run(
    plan: AblationPlan, objective: Objective
) -> tuple[AblationPath, list[FinishedTrial], list[int]]:
    """Run the plan to its end, as the driver does; return the path, the trials, and batch sizes."""
    finished: list[FinishedTrial] = []
    sizes: list[int] = []
    while not isinstance(batch := plan.next_batch(finished, 2), PlanEnded):
        assert batch
        sizes.append(len(batch))
        for one in batch:
            value = objective(flipped(plan, one.settings), one.seed)
            state, error = ("complete", "") if value is not None else ("diverged", "loss is nan")
            finished.append(FinishedTrial(one.settings, one.seed, value, state, error))
    trained = [(settings_key(one.settings), one.seed) for one in finished]
    assert len(set(trained)) == len(trained)
    return plan.path(finished), finished, sizes


def additive(**effects: float) -> Objective:
    return lambda keys, seed: 0.9 + sum(effects[key] for key in keys) + seed / 1000


def steps_of(path: AblationPath) -> list[tuple[str, ...]]:
    return [step.keys for step in path.steps]


def test_the_best_change_of_each_round_comes_first() -> None:
    plan = plan_of([Change("a"), Change("b"), Change("c")])
    path, finished, sizes = run(plan, additive(a=-0.01, b=0.02, c=0.01))
    assert steps_of(path) == [(), ("b",), ("c",), ("a",)]
    assert path.ended == ARRIVED
    assert [step.tried for step in path.steps[1:]] == [3, 2, 1]
    assert path.steps[2].values == pytest.approx({1: 0.931, 2: 0.932, 3: 0.933})
    # The defaults and the first round are one batch, since neither depends on a result.
    assert sizes == [12, 6, 3]
    assert len(finished) == plan.most == 21


def test_a_lower_objective_is_better_if_it_is_minimized() -> None:
    plan = plan_of([Change("a"), Change("b")], direction="minimize")
    assert steps_of(run(plan, additive(a=0.01, b=-0.02))[0]) == [(), ("b",), ("a",)]


def test_a_joint_effect_is_found_by_the_second_round() -> None:
    def objective(keys: frozenset[str], seed: int) -> float:
        return 0.01 * ("a" in keys) + 0.05 * ({"a", "c"} <= keys) + 0.02 * ("b" in keys) + seed

    path, _, _ = run(plan_of([Change("a"), Change("b"), Change("c")]), objective)
    assert steps_of(path) == [(), ("b",), ("a",), ("c",)]


def test_equal_changes_keep_the_order_of_the_sweep() -> None:
    plan = plan_of([Change("b"), Change("a"), Change("c")])
    assert steps_of(run(plan, additive(a=0, b=0, c=0))[0]) == [(), ("b",), ("a",), ("c",)]


def test_a_setting_of_an_option_is_changed_after_the_option() -> None:
    adam = ("optimizer", "adam")
    space = space_of(("optimizer", "adadelta", "adam", None), ("lr", 0.001, 0.01, adam))
    plan = plan_of([Change("optimizer"), Change("lr", "optimizer")], space)
    path, finished, _ = run(plan, lambda keys, seed: len(keys) + seed)
    assert steps_of(path) == [(), ("optimizer",), ("lr",)]
    assert [step.settings for step in path.steps] == [
        {"optimizer": "adadelta"},
        {"optimizer": "adam", "lr (optimizer=adam)": 0.001},
        {"optimizer": "adam", "lr (optimizer=adam)": 0.01},
    ]
    assert len(finished) == 9  # lr is never tried with adadelta
    assert plan.point(["lr"]) == {"optimizer": "adadelta"}


def test_a_setting_that_both_options_have_keeps_the_default_of_each() -> None:
    space = Space(
        (
            Dimension("optimizer", "", ("adadelta", "adam")),
            Dimension("lr", "", (1.0, 0.5), when=("optimizer", "adadelta")),
            Dimension("lr", "", (0.001, 0.5), when=("optimizer", "adam")),
        ),
        {},
    )
    plan = plan_of([Change("optimizer"), Change("lr")], space)
    assert plan.point([]) == {"optimizer": "adadelta", "lr (optimizer=adadelta)": 1.0}
    assert plan.point(["optimizer"]) == {"optimizer": "adam", "lr (optimizer=adam)": 0.001}
    assert plan.point(["lr"]) == {"optimizer": "adadelta", "lr (optimizer=adadelta)": 0.5}


def test_a_change_whose_run_fails_is_tried_again_later_and_reported() -> None:
    def objective(keys: frozenset[str], seed: int) -> float | None:
        if keys == {"a"} and seed == 2:  # a fails without b
            return None
        return 0.3 * ("a" in keys) + 0.1 * ("b" in keys)

    path, _, _ = run(plan_of([Change("a"), Change("b")]), objective)
    assert steps_of(path) == [(), ("b",), ("a",)]
    (failed,) = path.failed
    assert (failed.keys, failed.before) == (("a",), ())
    assert failed.errors == ("seed 2 diverged: loss is nan",)


def test_a_result_that_is_no_number_is_a_failure() -> None:
    path, _, _ = run(
        plan_of([Change("a"), Change("b")]),
        lambda keys, seed: float("nan") if keys == {"a"} else float(len(keys)),
    )
    assert steps_of(path) == [(), ("b",), ("a",)]
    assert path.failed[0].keys == ("a",)


def test_changes_that_fail_alone_are_applied_together() -> None:
    path, _, _ = run(
        plan_of([Change("a"), Change("b")]), lambda keys, seed: None if len(keys) == 1 else 0.5
    )
    assert steps_of(path) == [(), ("a", "b")]
    assert [one.keys for one in path.failed] == [("a",), ("b",)]
    assert path.ended == ARRIVED


@pytest.mark.parametrize(
    ("bad", "ended", "trained"), [(frozenset(), NO_DEFAULTS, 9), (frozenset("ab"), NO_WINNER, 12)]
)
def test_an_end_of_the_path_that_fails_ends_it(
    bad: frozenset[str], ended: str, trained: int
) -> None:
    plan = plan_of([Change("a"), Change("b")])
    path, finished, _ = run(plan, lambda keys, seed: None if keys == bad else 1.0)
    assert path.ended == ended
    assert len(finished) == trained
    assert path.failed


def test_many_changes_take_the_order_of_the_first_round() -> None:
    changes = [Change(f"c{n}") for n in range(MAX_GREEDY + 2)]
    plan = plan_of([*changes, Change("late", "c3")])
    effects = {change.key: n / 1000 for n, change in enumerate(changes)}
    path, finished, _ = run(plan, additive(**effects, late=0.0))
    order = [key for keys in steps_of(path) for key in keys]
    assert order == ["c9", "c8", "c7", "c6", "c5", "c4", "c3", "late", "c2", "c1", "c0"]
    assert path.ended == ARRIVED
    assert len(finished) <= plan.most == 2 * 11 * len(SEEDS)


def test_a_trial_that_is_run_again_changes_the_path_as_if_it_had_not_failed() -> None:
    plan = plan_of([Change("a"), Change("b")])
    fails: Objective = lambda keys, seed: None if keys == {"a"} else float(len(keys))  # noqa: E731
    _, finished, _ = run(plan, fails)
    again = [
        FinishedTrial(one.settings, one.seed, 9.0, "complete") if not one.is_complete else one
        for one in finished
    ]
    assert not isinstance(plan.next_batch(finished, 2), list)
    assert steps_of(plan.path(again)) == [(), ("a",), ("b",)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[AblationPlan, dict[tuple[frozenset[str], int], float | None]]:
    """Return a plan of up to 10 changes, some conditional, and how some of its runs end."""
    count = draw(st.integers(1, 10))
    changes: list[Change] = []
    for n in range(count):
        free = [one.key for one in changes if one.after is None]
        after = draw(st.sampled_from([None, *free]))
        changes.append(Change(f"c{n}", after))
    ordered = sorted(changes, key=lambda one: one.after is not None)
    keys = [one.key for one in changes]
    value = st.one_of(st.none(), st.floats(0, 1), st.just(float("nan")))
    chosen = draw(
        st.dictionaries(
            st.tuples(st.frozensets(st.sampled_from(keys)), st.sampled_from(SEEDS)), value
        )
    )
    space = plan_of(ordered).space
    return plan_of(changes, space), chosen


@given(cases())
def test_the_path_ends_at_the_winner_and_trains_nothing_twice(
    case: tuple[AblationPlan, dict[tuple[frozenset[str], int], float | None]],
) -> None:
    plan, chosen = case
    path, finished, _ = run(plan, lambda keys, seed: chosen.get((keys, seed), len(keys) / 20))
    every = {change.key for change in plan.changes}
    if path.ended == ARRIVED:
        assert set(path.applied) == every
        assert len(path.applied) == len(every)
        assert flipped(plan, path.steps[-1].settings) == every
    else:
        end = {NO_DEFAULTS: frozenset(), NO_WINNER: frozenset(every)}[path.ended]
        values = [one for one in finished if flipped(plan, one.settings) == end]
        assert any(not one.is_complete for one in values)
    for before, after in itertools.pairwise(path.steps):
        assert flipped(plan, after.settings) - flipped(plan, before.settings) == set(after.keys)
    if all(one.is_complete for one in finished):
        assert len(finished) <= plan.most
