"""`sweep=auto` keeps to its budget, repeats nothing, and finds better settings than TPE."""

import math
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.worlds import CHANCE, DROPOUT, OPTIMIZERS, RATES, SETTINGS, World, suggested
from tunebook.analysis.results import family
from tunebook.config.validation import SettingError
from tunebook.sweeps.auto import AutoPlan, Budget, Goal
from tunebook.sweeps.plan import FINAL_SEEDS, FinishedTrial, PlanEnded, settings_key
from tunebook.sweeps.space import Dimension, Space, Value

STUDIES = 30
GOAL = Goal("val/acc", "max", 0.0, 1, 0)


def space_of_worlds() -> Space:
    """Return what varies in the simulated tasks."""
    found = []
    for one in SETTINGS:
        _, _, when = one.name.partition(" (")
        condition = tuple(when.removesuffix(")").split("=")) if when else None
        found.append(
            Dimension(
                family(one.name), "", one.values or None, one.low, one.high, one.log, condition
            )  # type: ignore[arg-type]
        )
    return Space(tuple(sorted(found, key=lambda one: one.when is not None)), {})


def played(
    plan: AutoPlan, world: World, rng: np.random.Generator, workers: int = 2
) -> list[FinishedTrial]:
    """Return all trials of a plan, whose results the simulated task gives."""
    finished: list[FinishedTrial] = []
    while not isinstance(batch := plan.next_batch(finished, workers), PlanEnded):
        for one in batch:
            state, curve = world.run(one.settings, one.seed, rng)
            finished.append(
                FinishedTrial(
                    one.settings, one.seed, max(curve) if curve else None, state, seconds=10.0
                )
            )
    return finished


def error_of(values: Sequence[float | None]) -> float:
    """Return the mean logarithm of the errors of the runs that learned; inf if most did not."""
    good = [math.log10(1 - value) for value in values if value is not None and value > 2 * CHANCE]
    return float(np.mean(good)) if 2 * len(good) > len(values) else math.inf


def best_of(trials: Sequence[FinishedTrial]) -> dict[str, Value]:
    """Return the best configuration of those with at least three runs."""
    runs: dict[object, list[FinishedTrial]] = {}
    for one in trials:
        runs.setdefault(settings_key(one.settings), []).append(one)
    several = [same for same in runs.values() if len(same) >= FINAL_SEEDS]
    best = min(several, key=lambda same: error_of([one.objective for one in same]))
    return dict(best[0].settings)


def best_accuracy(world: World) -> float:
    """Return the accuracy of the best settings that there are."""
    found = []
    for name in OPTIMIZERS:
        rate = RATES[name]
        for place in np.linspace(0, 1, 41):
            lr = math.exp(math.log(rate.low) + place * math.log(rate.high / rate.low))
            for batch in (32, 64, 128, 256):
                values = {
                    "optimizer": name, rate.name: lr, "model.filters": 64,
                    DROPOUT.name: DROPOUT.low + world.best_dropout * (DROPOUT.high - DROPOUT.low),
                    "data.batch_size": batch, "augmentation": "shift", "schedule": "cosine",
                }  # fmt: skip
                found.append(world.accuracy(values))
    return max(found)


def started(
    start: str, world: World, rng: np.random.Generator
) -> tuple[list[FinishedTrial], optuna.Study]:
    """Return 60 trials, at random or by TPE, and the study that holds them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = int(rng.integers(2**31))
    sampler = optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=True, n_startup_trials=60 if start == "random" else 15
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    return by_tpe(study, world, rng, 60), study


def by_tpe(
    study: optuna.Study, world: World, rng: np.random.Generator, count: int
) -> list[FinishedTrial]:
    """Return further trials of a study, which it draws."""
    found = []
    for _ in range(count):
        trial = study.ask()
        values = suggested(trial)
        state, curve = world.run(values, GOAL.seed, rng)
        value = max(curve) if curve else None
        failed = optuna.trial.TrialState.FAIL if value is None else None
        study.tell(trial, value, state=failed)
        found.append(FinishedTrial(values, GOAL.seed, value, state))
    return found


def regrets(start: str, number: int) -> tuple[float, float]:
    """Return how many points of accuracy are lost after 60 trials and 35 more runs.

    The further runs are those of sweep=auto, or 20 trials of TPE and 5 seeds of the best three.
    """
    world = World.draw(np.random.default_rng(number))
    best, found = best_accuracy(world), []
    for method in ("auto", "TPE"):
        rng = np.random.default_rng([number, 1])
        trials, study = started(start, world, rng)
        if method == "auto":
            plan = AutoPlan(space_of_worlds(), Budget(35, None), GOAL, trials)
            trials += played(plan, world, rng)
        else:
            trials += by_tpe(study, world, rng, 20)
            leaders = sorted(trials, key=lambda one: -(one.objective or 0.0))[:3]
            for one in leaders:
                for seed in range(2, 7):
                    state, curve = world.run(one.settings, seed, rng)
                    value = max(curve) if curve else None
                    trials.append(FinishedTrial(one.settings, seed, value, state))
        found.append(100 * (best - world.accuracy(best_of(trials))))
    return found[0], found[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("start", ["random", "TPE"])
def test_following_the_advice_pays(start: str) -> None:
    """35 runs by sweep=auto lose less than 20 trials of TPE and 5 seeds of the best three."""
    found = np.array([regrets(start, number) for number in range(STUDIES)])
    auto, tpe = found.mean(axis=0)
    half = 1.96 * (found[:, 1] - found[:, 0]).std(ddof=1) / math.sqrt(len(found))
    print(
        f"\nafter 60 trials ({start}), regret in points, n = {len(found)}: auto {auto:.3f}, "
        f"TPE {tpe:.3f}, difference {tpe - auto:.3f} +- {half:.3f}"
    )
    assert auto < 0.8 * tpe


@given(
    budget=st.integers(1, 24),
    workers=st.integers(1, 5),
    seed=st.integers(0, 1000),
    size=st.integers(1, 3),
)
@settings(deadline=None, max_examples=6)
def test_the_budget_is_kept_and_no_run_is_repeated(
    budget: int, workers: int, seed: int, size: int
) -> None:
    """This holds for spaces with fewer configurations than the budget, as well."""
    world = World.draw(np.random.default_rng(seed))
    whole = space_of_worlds()
    if size < 3:  # a small space, of two lists
        lists = [one for one in whole.dimensions if one.key in ("augmentation", "schedule")][:size]
        space = Space(tuple(lists), {})
    else:
        space = whole
    fixed = {
        "optimizer": "adam", RATES["adam"].name: 1e-3, "model.filters": 16, DROPOUT.name: 0.2,
        "data.batch_size": 64, "augmentation": "none", "schedule": "constant",
    }  # fmt: skip
    plan = AutoPlan(space, Budget(budget, None), GOAL)
    rng = np.random.default_rng(seed)
    finished: list[FinishedTrial] = []
    while not isinstance(batch := plan.next_batch(finished, workers), PlanEnded):
        assert batch
        assert batch == plan.next_batch(finished, workers)  # whoever asks, after a restart
        for one in batch:
            state, curve = world.run({**fixed, **one.settings}, one.seed, rng)
            value = max(curve) if curve else None
            finished.append(FinishedTrial(one.settings, one.seed, value, state))
    assert len(finished) <= budget
    runs = [(settings_key(one.settings), one.seed) for one in finished]
    assert len(set(runs)) == len(runs)
    if size == 3:
        assert len(finished) == budget
    for one in finished:
        applying = {d.name for d in space.dimensions if d.applies(one.settings)}
        assert set(one.settings) == applying


def test_the_last_quarter_goes_to_finalists() -> None:
    world = World.draw(np.random.default_rng(5))
    plan = AutoPlan(space_of_worlds(), Budget(40, None), GOAL)
    finished = played(plan, world, np.random.default_rng(6))
    seeds = [one for one in finished if one.seed != GOAL.seed]
    assert len(seeds) == 10
    assert finished[-10:] == seeds
    counts: dict[object, int] = {}
    for one in finished:
        counts[settings_key(one.settings)] = counts.get(settings_key(one.settings), 0) + 1
    assert sum(count >= FINAL_SEEDS for count in counts.values()) >= 3


def test_a_time_ends_the_sweep() -> None:
    """Each run takes 10 s, and two run at once."""
    world = World.draw(np.random.default_rng(5))
    plan = AutoPlan(space_of_worlds(), Budget.of("2m"), GOAL)
    assert len(played(plan, world, np.random.default_rng(6))) == 24


def test_a_sweep_ends_when_little_is_to_be_gained() -> None:
    world = World.draw(np.random.default_rng(5))
    goal = Goal("val/acc", "max", 0.5, 1, 0)  # no settings gain 50 points
    plan = AutoPlan(space_of_worlds(), Budget(200, None), goal)
    finished = played(plan, world, np.random.default_rng(6))
    assert 20 <= len(finished) <= 40


def test_what_an_earlier_sweep_tried_counts() -> None:
    """A continued sweep begins with the model, and does not repeat the earlier trials."""
    world = World.draw(np.random.default_rng(5))
    earlier = played(
        AutoPlan(space_of_worlds(), Budget(30, None), GOAL), world, np.random.default_rng(6)
    )
    plan = AutoPlan(space_of_worlds(), Budget(20, None), GOAL, earlier)
    finished = played(plan, world, np.random.default_rng(7))
    known = {(settings_key(one.settings), one.seed) for one in earlier}
    assert not known & {(settings_key(one.settings), one.seed) for one in finished}
    learned = [one.objective for one in finished if one.seed == GOAL.seed and one.objective]
    before = [one.objective for one in earlier[:20] if one.objective]
    assert np.median(learned) > np.median(before)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "h", "0h", "4 h", "1e3", "10001", "", "9" * 99])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(SettingError, match=r"a number of runs from 1 to 10000, or a time such as"):
        Budget.of(text)
