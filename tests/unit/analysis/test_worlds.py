"""Findings are right in studies as they are in practice: see tests/helpers/worlds.py.

`pytest tests/unit/analysis/test_worlds.py -m slow -s` prints what is found in 100 studies of each
kind.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from tests.helpers.truths import Analysed, analysed
from tests.helpers.worlds import BATCH, DROPOUT, FILTERS, KINDS, NOISE, RATES, World
from tunebook.analysis.as_json import as_json
from tunebook.analysis.findings import findings
from tunebook.analysis.results import Results, family

RIDGE = {"optimizer.lr", BATCH.name}
# What is joint in a world: the best learning rate moves with the batch size, from another place
# with each optimizer; the augmentation helps with one of the schedules.
JOINT = [RIDGE, {"optimizer", BATCH.name}, {"augmentation", "schedule"}]


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    """Disable garbage collection, which statsmodels' multipletests calls each time."""
    with patch("gc.collect"):
        yield


def studies(kind: str, number: int) -> Iterator[tuple[World, Results]]:
    for seed in range(1000, 1000 + number):
        rng = np.random.default_rng(seed)
        world = World.draw(rng)
        yield world, KINDS[kind](world, rng)


def count(counts: Counter[str], world: World, found: Analysed) -> None:
    """Add what was found in a study."""
    matter = {one.setting.name for one in found.effects.settings if one.matters}
    pairs = [{one.first.name, one.second.name} for one in found.interactions]
    counts["learning rate"] += any(one.matters for one in found.effects.joint)
    counts["filters"] += FILTERS.name in matter
    counts["dropout"] += DROPOUT.name in matter
    counts["ridge"] += RIDGE in pairs
    counts["pure interaction"] += JOINT[-1] in pairs
    counts["noise"] += len(matter & NOISE)
    counts["false pair"] += any(pair not in JOINT for pair in pairs)
    counts["false edge"] += any(
        not _is_an_end(world, one.setting.name, one.upwards) for one in found.edges
    )
    importances = {one.setting.name: one.share for one in found.importances}
    counts["noise share"] += sum(importances.get(name, 0.0) for name in NOISE)  # type: ignore[assignment]
    for one in found.effects.settings:
        if one.setting is DROPOUT and one.matters:
            counts["dropout named"] += 1
            third = min(2, int(3 * world.best_dropout))
            counts["dropout right"] += one.levels[0].level.place == third


def _is_an_end(world: World, name: str, upwards: bool) -> bool:
    rates = {RATES[optimizer].name: optimizer for optimizer in RATES}
    if name in rates:
        return world.best[rates[name]] == float(upwards)
    return (name == FILTERS.name and upwards) or name == BATCH.name


def rates(kind: str, number: int) -> dict[str, float]:
    """Return the shares of studies in which something was found."""
    counts: Counter[str] = Counter()
    for world, results in studies(kind, number):
        count(counts, world, analysed(results))
    return {name: counts[name] / number for name in counts}


def test_what_matters_in_sixty_trials_is_found() -> None:
    found = rates("random 60", 20)
    assert found["learning rate"] >= 0.8
    assert found["filters"] >= 0.45
    assert found["ridge"] >= 0.35
    assert found["noise"] / 2 <= 0.1
    assert found["false pair"] <= 0.2
    assert found["false edge"] <= 0.15


# Bounds on what is found in 100 studies. They are about three standard errors below what was
# measured, so that they fail if something gets worse.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("random 60", {"learning rate": 0.9, "filters": 0.57, "ridge": 0.5, "dropout": 0.3}),
        ("random 120", {"learning rate": 0.97, "filters": 0.93, "ridge": 0.8, "dropout": 0.75}),
        ("random 60 x 3", {"learning rate": 0.93, "filters": 0.75, "ridge": 0.55}),
        ("TPE 60", {"learning rate": 0.88, "filters": 0.6, "ridge": 0.37}),
        ("TPE 60, median pruner", {"learning rate": 0.6}),
        ("ASHA 81", {"learning rate": 0.55, "ridge": 0.25, "dropout": 0.6}),
    ],
)
def test_rates(kind: str, least: dict[str, float]) -> None:
    """Effects are found, and noise, false pairs and false edges are rare.

    A rate of 5 % gives at most 11 of 100 studies (the binomial bound of 1 %).
    """
    found = rates(kind, 100)
    print(f"\n{kind}, n = 100: " + ", ".join(f"{name} {rate:.3g}" for name, rate in found.items()))
    assert all(found[name] >= bound for name, bound in least.items())
    assert found["noise"] / 2 <= (0.1 if "pruner" in kind else 0.06)
    assert found["false pair"] <= (0.16 if "TPE" in kind else 0.11)
    assert found["false edge"] <= 0.11


def test_findings_are_described_for_programs() -> None:
    """The JSON has the learning rates together and apart, and the best values."""
    (_, results) = next(studies("random 120", 1))
    found = as_json(findings(results))
    settings = {(one["key"], one["when"]): one for one in found["settings"]}
    joint = settings["optimizer.lr", None]
    assert joint["matters"]
    assert 0 <= joint["importance"]["low"] <= joint["importance"]["share"]
    assert ("optimizer.lr", "optimizer=adam") in settings
    best = settings[FILTERS.name, None]["best"]
    assert best["value"] == 64
    assert ("optimizer.lr", BATCH.name) in {(one["first"], one["second"]) for one in found["pairs"]}


def test_a_pruned_study_has_no_best_value_and_says_the_epoch() -> None:
    (_, results) = next(studies("ASHA 81", 1))
    found = as_json(findings(results))
    assert all(one["best"] is None for one in found["settings"])
    assert {one["epoch"] for one in found["settings"] if one.get("when")} <= {2, 6, 18, 5, 17}
    assert found["edges"] == []


def test_a_failing_run_does_not_change_what_is_found() -> None:
    """Runs at chance level are set aside, however many there are."""
    (_, results) = next(studies("random 120", 1))
    learned = [run for run in results.runs if run.objective is None or run.objective > 0.2]
    more = [
        replace(run, run_id=f"{run.run_id}x", objective=0.1)
        for run in learned[:30]
        if run.objective is not None
    ]
    few, many = (analysed(replace(results, runs=tuple(runs))) for runs in (learned, learned + more))
    names = [
        {family(one.setting.name) for one in found.effects.settings if one.matters}
        for found in (few, many)
    ]
    assert names[0] == names[1]
