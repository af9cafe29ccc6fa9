"""Findings are true: planted effects are found, and noise is not called an effect."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from tests.helpers.studies import (
    ALL,
    AUGMENTATION,
    BATCH,
    DROPOUT,
    FILTERS,
    LR,
    OPTIMIZER,
    Plan,
    place,
    planted,
    study,
    with_tail,
)
from tests.helpers.truths import analysed
from tunebook.analysis.effects import BoundaryOptimum, Effect
from tunebook.analysis.findings import findings
from tunebook.analysis.leaderboard import leaderboard
from tunebook.analysis.pairs import compare_to_best
from tunebook.analysis.results import Results, Run, Setting

NOISE = 0.002  # standard deviation between seeds: 0.2 points


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    """Disable garbage collection.

    Statsmodels' multipletests collects at each call, which takes a fifth of a second once torch
    is loaded.
    """
    with patch("gc.collect"):
        yield


def count(
    counts: Counter[str], plan: Plan, found: Sequence[Effect], ends: Sequence[BoundaryOptimum]
) -> None:
    """Add a study to the counts of what its plan holds and of what its findings say."""
    matter = {effect.setting.name for effect in found if effect.matters}
    at_end = {edge.setting.name: edge.upwards for edge in ends}
    counts["noise"] += len(plan.noise)
    counts["called"] += len(matter & plan.noise)
    counts["studies called"] += bool(matter & plan.noise)
    counts["planted"] += len(plan.planted)
    counts["found"] += len(matter & plan.planted)
    counts["peaks"] += len(plan.peaks)
    counts["peaks called"] += len(at_end.keys() & plan.peaks)
    counts["ends"] += len(plan.ends)
    counts["ends found"] += sum(at_end.get(name) == upwards for name, upwards in plan.ends.items())


def rates(studies: int, tail: float = 0.0) -> dict[str, float]:
    """Return the rates of errors and of correct findings over random studies.

    called: noise settings called important. studies called: studies with such a setting.
    found: planted settings found. peaks called: peaks called edges. ends found: edges found.
    """
    counts: Counter[str] = Counter()
    for number in range(studies):
        rng = np.random.default_rng(number)
        plan = planted(ALL, NOISE, rng)
        results = study(
            ALL,
            plan.truth,
            noise=NOISE,
            rng=rng,
            configurations=int(rng.integers(40, 121)),
            seeds=int(rng.choice([1, 1, 3])),
        )
        found = analysed(with_tail(results, tail, rng))
        count(counts, plan, found.effects.settings, found.edges)
    ratios = (
        ("called", "noise"),
        ("studies called", ""),
        ("found", "planted"),
        ("peaks called", "peaks"),
        ("ends found", "ends"),
    )
    return {part: counts[part] / (counts[whole] if whole else studies) for part, whole in ratios}


def test_noise_is_not_called_important_and_effects_are_found() -> None:
    """Effects are found and noise is rarely called important in 60 random studies.

    Of about 180 settings of each kind, 5 % are 9; 17 is the binomial bound of 1 %.
    """
    found = rates(60)
    assert found["called"] <= 0.09
    assert found["studies called"] <= 0.14
    assert found["found"] >= 0.9
    assert found["peaks called"] <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize("tail", [0.0, 0.05])
def test_error_rates(tail: float) -> None:
    """Error rates stay within 5 % over 400 random studies.

    5 % of the studies are 20; 31 is the binomial bound of 1 %.
    """
    found = rates(400, tail)
    assert found["called"] <= 0.05
    assert found["studies called"] <= 31 / 400
    # One run in twenty at chance level hides effects that are close to the noise.
    assert found["found"] >= (0.8 if tail else 0.9)
    assert found["peaks called"] <= 0.05


@pytest.mark.slow
def test_what_a_model_misses_of_configurations_makes_no_noise_important() -> None:
    """What the model misses of a configuration counts once, not once for each of its 5 seeds."""
    called = 0
    for number in range(200):
        rng = np.random.default_rng(number)
        height = {name: rng.normal() for name in ("adadelta", "adam", "sgd")}
        truth = lambda v, h=height: (  # noqa: E731
            0.9 + 0.02 * math.sin(9 * place(LR, v["lr"])) * h[str(v["optimizer"])]
        )
        found = analysed(
            study(
                (OPTIMIZER, LR, DROPOUT, BATCH),
                truth,
                noise=0.0005,
                rng=rng,
                configurations=30,
                seeds=5,
            )
        )
        called += any(
            one.matters for one in found.effects.settings if one.setting in (DROPOUT, BATCH)
        )
    assert called / 200 <= 0.09


@pytest.mark.slow
def test_of_equal_configurations_none_is_called_better() -> None:
    """Among six equal configurations the leader is rarely called better (200 studies)."""
    called = 0
    for number in range(200):
        rng = np.random.default_rng(number)
        setting = Setting("a", False, tuple("abcdef"))
        runs = [
            Run("", "", {"a": a}, seed, "complete", float(rng.normal()))
            for a in "abcdef"
            for seed in range(5)
        ]
        pairs = compare_to_best(
            leaderboard(Results("s", "val/loss", "min", (setting,), tuple(runs))), None
        )
        called += any(pair.verdict == "better" for pair in pairs)
    assert called / 200 <= 0.09


def test_an_interaction_is_found_and_named() -> None:
    rng = np.random.default_rng(1)
    truth = lambda v: (  # noqa: E731
        0.9
        + 0.01 * place(LR, v["lr"])
        + 0.012 * (v["optimizer"] == "adam") * (1 - 2 * place(LR, v["lr"]))
    )
    found = analysed(
        study((OPTIMIZER, LR, DROPOUT), truth, noise=NOISE, rng=rng, configurations=80)
    ).interactions
    assert [{one.first.name, one.second.name} for one in found] == [{"optimizer", "lr"}]


def test_strong_main_effects_are_no_interaction() -> None:
    """Strong main effects are not called an interaction, as they would be on ranks alone."""
    found = 0
    for number in range(20):
        rng = np.random.default_rng(number)
        truth = lambda v: (  # noqa: E731
            0.9 + 0.03 * place(LR, v["lr"]) + 0.03 * place(FILTERS, v["model.filters"])
        )
        found += bool(
            analysed(
                study((LR, FILTERS, DROPOUT), truth, noise=NOISE, rng=rng, configurations=60)
            ).interactions
        )
    assert found <= 2


def test_conditional_settings_count_where_they_apply() -> None:
    rng = np.random.default_rng(0)
    of_adam, of_sgd = (
        Setting(f"optimizer.lr (optimizer={name})", True, (), 1e-4, 1e-1, True)
        for name in ("adam", "sgd")
    )
    settings = (Setting("optimizer", False, ("adam", "sgd")), of_adam, of_sgd)
    whole = study(
        settings,
        lambda v: 0.9 + 0.02 * (v["optimizer"] == "adam") * place(of_adam, v[of_adam.name]),
        noise=NOISE,
        rng=rng,
    )
    other = {"adam": of_sgd.name, "sgd": of_adam.name}
    runs = [
        replace(
            run,
            values={
                k: v for k, v in run.values.items() if k != other[str(run.values["optimizer"])]
            },
        )
        for run in whole.runs
    ]
    found = findings(replace(whole, runs=tuple(runs)), ["data=digits"])
    assert {effect.setting.name: effect.matters for effect in found.effects}[of_adam.name]
    assert not {effect.setting.name: effect.matters for effect in found.effects}[of_sgd.name]
    assert [edge.setting.name for edge in found.edges] == [of_adam.name]
    search = (
        "python src/train.py -m sweep=random sweep.space=null sweep.trials=20 "
        "data=digits optimizer=adam "
    )
    assert found.next_commands[0].startswith(search + "'optimizer.lr=tag(log, interval(0.01, ")


def test_importance_is_that_of_the_planted_settings() -> None:
    rng = np.random.default_rng(2)
    truth = lambda v: (  # noqa: E731
        0.9 + 0.02 * place(LR, v["lr"]) + 0.008 * (v["optimizer"] == "adam")
    )
    found = findings(
        study((OPTIMIZER, LR, DROPOUT), truth, noise=NOISE, rng=rng, configurations=100)
    )
    assert [one.setting.name for one in found.importances] == ["lr", "optimizer", "model.dropout"]
    assert all(0 <= one.low <= one.share <= one.high <= 1 for one in found.importances)
    assert found.importances[1].low > found.importances[2].high


def test_two_values_with_five_seeds_each_have_findings() -> None:
    """Seeds are blocks: what the runs of a seed share does not hide the difference."""
    rng = np.random.default_rng(0)
    of_seed, of_run = rng.normal(0, 0.02, 5), rng.normal(0, NOISE, (2, 5))
    both = [
        Run(
            "r",
            "r",
            {"augmentation": name},
            seed,
            "complete",
            0.9 + 0.01 * number + of_seed[seed] + of_run[number, seed],
        )
        for number, name in enumerate(("affine", "none"))
        for seed in range(5)
    ]
    found = findings(Results("s", "val/acc", "max", (AUGMENTATION,), tuple(both)))
    assert found.effects[0].matters
    assert found.pairs[0].verdict == "better"
    assert found.next_commands == ()
