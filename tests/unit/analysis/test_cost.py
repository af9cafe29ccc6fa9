"""The cost of settings is found without that of others, and the front has no beaten member."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.studies import (
    ALL,
    AUGMENTATION,
    DROPOUT,
    FILTERS,
    OPTIMIZER,
    drawn,
    place,
    study,
)
from tunebook.analysis.cost import cost_sentences, costs, front
from tunebook.analysis.leaderboard import leaderboard
from tunebook.analysis.results import Results, Run, Setting

SLOWER = 2.0  # with the most filters, relative to the fewest


def timed(rng: np.random.Generator, settings: tuple[Setting, ...] = ALL, n: int = 60) -> Results:
    """Return a study in which only filters and augmentation cost time, with noise of 5 %."""
    found = study(settings, lambda values: 0.9, noise=0.01, rng=rng, configurations=n)
    runs = [
        dataclasses.replace(
            run,
            seconds=10.0
            * SLOWER ** (place(FILTERS, run.values["model.filters"]))
            * (1.5 if run.values.get("augmentation") == "affine" else 1.0)
            * float(np.exp(rng.normal(0, 0.05))),
        )
        for run in found.runs
    ]
    return dataclasses.replace(found, runs=tuple(runs))


def test_each_setting_has_its_own_cost() -> None:
    covered, false = 0, 0
    for seed in range(100):
        results = timed(np.random.default_rng(seed))
        found = {one.setting.name: one for one in costs(results, leaderboard(results))}
        slowest = found["model.filters"].levels[-1]
        assert slowest.level.text == "64"
        assert found["model.filters"].is_clear
        assert found["augmentation"].is_clear
        covered += slowest.low <= SLOWER <= slowest.high
        false += any(
            one.is_clear
            for name, one in found.items()
            if name not in ("model.filters", "augmentation")
        )
    assert 90 <= covered <= 99
    assert false == 0


def test_the_cost_of_another_setting_is_not_counted_twice() -> None:
    """Affine augmentation comes mostly with many filters, which take longer."""
    rng = np.random.default_rng(0)
    results = timed(rng, (FILTERS, AUGMENTATION, DROPOUT), 200)
    kept = [
        run
        for run in results.runs
        if (run.values["augmentation"] == "affine") == (run.values["model.filters"] == 64)
        or rng.random() < 0.3
    ]
    results = dataclasses.replace(results, runs=tuple(kept))
    (affine,) = [
        one.levels[-1]
        for one in costs(results, leaderboard(results))
        if one.setting.name == "augmentation"
    ]
    naive = np.median([run.seconds for run in kept if run.values["augmentation"] == "affine"])
    naive /= np.median([run.seconds for run in kept if run.values["augmentation"] == "none"])
    assert naive > 1.8
    assert affine.ratio == pytest.approx(1.5, rel=0.06)


def test_what_can_not_be_told_apart_is_left_out() -> None:
    rng = np.random.default_rng(0)
    results = timed(rng, (FILTERS, OPTIMIZER, DROPOUT))
    twin = Setting("twin", False, ("16", "32", "64"))
    runs = [
        dataclasses.replace(run, values={**run.values, "twin": str(run.values["model.filters"])})
        for run in results.runs
    ]
    results = dataclasses.replace(results, settings=(*results.settings, twin), runs=tuple(runs))
    found = costs(results, leaderboard(results))
    assert sorted(one.setting.name for one in found) == ["model.dropout", "optimizer"]


def test_a_setting_of_an_option_has_a_cost() -> None:
    rng = np.random.default_rng(0)
    nested = Setting("depth (optimizer=adam)", True, (1, 2, 4), 1, 4, True)
    runs = []
    for number in range(60):
        values = {"optimizer": drawn(OPTIMIZER, rng)}
        if values["optimizer"] == "adam":
            values[nested.name] = drawn(nested, rng)
        depth = values.get(nested.name, 1)
        assert isinstance(depth, int)
        seconds = 10.0 * depth * float(np.exp(rng.normal(0, 0.05)))
        runs.append(Run(f"r{number}", "", values, number, "complete", 0.9, seconds=seconds))
    results = Results("study", "val/acc", "max", (OPTIMIZER, nested), tuple(runs))
    found = {one.setting.name: one for one in costs(results, leaderboard(results))}
    assert found[nested.name].levels[-1].ratio == pytest.approx(4.0, rel=0.1)


def test_a_small_grid_has_costs_if_seeds_repeat() -> None:
    runs = tuple(
        Run(f"{a}{seed}", "", {"a": a}, seed, "complete", 0.9, seconds=10.0 * a + seed / 10)
        for a in (1, 2)
        for seed in range(3)
    )
    results = Results("study", "val/acc", "max", (Setting("a", True, (1, 2), 1, 2),), runs)
    (cost,) = costs(results, leaderboard(results))
    assert cost.is_clear
    assert cost.levels[-1].ratio == pytest.approx(2.0, rel=0.02)
    single = dataclasses.replace(results, runs=(runs[0], runs[3]))
    assert costs(single, leaderboard(single)) == ()


def test_pruned_runs_cost_nothing() -> None:
    results = timed(np.random.default_rng(0))
    pruned = [dataclasses.replace(run, state="pruned", seconds=0.1) for run in results.runs]
    both = dataclasses.replace(results, runs=(*results.runs, *pruned))
    assert costs(both, leaderboard(both)) == costs(results, leaderboard(results))
    assert costs(dataclasses.replace(results, runs=tuple(pruned)), ()) == ()


def test_the_sentence_names_the_cost_and_the_gain() -> None:
    results = timed(np.random.default_rng(0))
    found = costs(results, leaderboard(results))
    first, second = cost_sentences(results, found, {"model.filters": {"16": 0.95, "64": 0.953}})
    assert first.startswith("model.filters 64 takes 2.0 times as long as 16 (95 % interval 1.9 to ")
    assert first.endswith(") and is 0.30 points better.")
    assert second.startswith("augmentation affine takes 1.5 times as long as none")
    assert second.endswith(").")  # whether it is better is unknown


def test_the_front_has_the_best_for_each_time() -> None:
    known = [(1.0, 0.5), (2.0, 0.6), (3.0, 0.55), (4.0, 0.9), (4.0, 0.8), (5.0, 0.9)]
    runs = tuple(
        Run(str(number), "", {"a": number}, 0, "complete", value, seconds=seconds)
        for number, (seconds, value) in enumerate(known)
    )
    setting = Setting("a", True, (), 0, 9)
    for direction, sign in (("max", 1), ("min", -1)):
        turned = tuple(
            dataclasses.replace(run, objective=sign * (run.objective or 0.0)) for run in runs
        )
        results = Results("study", "val/score", direction, (setting,), turned)  # type: ignore[arg-type]
        members = front(leaderboard(results), direction)
        assert [one.values["a"] for one in members] == [0, 1, 3]
