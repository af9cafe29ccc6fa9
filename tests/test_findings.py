"""Findings are true: planted effects are found, noise is not, and sentences are sensible."""

import math
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.studies import (
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
from tunebook.analysis.comparable import comparable
from tunebook.analysis.design import design
from tunebook.analysis.effects import Edge, Effect, edges, effects
from tunebook.analysis.findings import findings
from tunebook.analysis.interactions import Interaction, interactions
from tunebook.analysis.leaderboard import leaderboard
from tunebook.analysis.pairs import against_the_leader, seeds_needed
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


@pytest.fixture
def few_bootstraps() -> Iterator[None]:
    """Shorten the bootstrap for tests that do not look at importance."""
    with patch("tunebook.analysis.importance.BOOTSTRAPS", 2):
        yield


def analysed(
    results: Results,
) -> tuple[tuple[Effect, ...], tuple[Edge, ...], tuple[Interaction, ...]]:
    """Return effects, edges and interactions, without importance, which is slow."""
    compared = comparable(results)
    model = design(results, compared)
    found = effects(results, compared, model)
    return found, edges(model, compared, found), interactions(model, found)


def count(counts: Counter[str], plan: Plan, found: Sequence[Effect], ends: Sequence[Edge]) -> None:
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
        found, ends, _ = analysed(with_tail(results, tail, rng))
        count(counts, plan, found, ends)
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
        found, _, _ = analysed(
            study(
                (OPTIMIZER, LR, DROPOUT, BATCH),
                truth,
                noise=0.0005,
                rng=rng,
                configurations=30,
                seeds=5,
            )
        )
        called += any(effect.matters for effect in found if effect.setting in (DROPOUT, BATCH))
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
        pairs = against_the_leader(
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
    _, _, found = analysed(
        study((OPTIMIZER, LR, DROPOUT), truth, noise=NOISE, rng=rng, configurations=80)
    )
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
            analysed(study((LR, FILTERS, DROPOUT), truth, noise=NOISE, rng=rng, configurations=60))[
                2
            ]
        )
    assert found <= 2


@pytest.mark.usefixtures("few_bootstraps")
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


def run(
    seed: int | None = 0, objective: float | None = 0.9, state: str = "complete", **others: object
) -> Run:
    values = {"optimizer": "adam", "lr": 1e-3, **others}
    return Run(f"{seed}", f"{seed}", values, seed, state, objective)  # type: ignore[arg-type]


def results(*runs: Run, **others: object) -> Results:
    made = Results("s", "val/acc", "max", (OPTIMIZER, LR), runs)
    return replace(made, **others)  # type: ignore[arg-type]


def test_a_leaderboard_holds_configurations() -> None:
    runs = [
        run(1, 0.90),
        run(2, 0.92),
        run(1, 0.95, optimizer="sgd"),
        run(3, None, "failed"),
        run(4, math.nan),
    ]
    best, second = leaderboard(results(*runs))
    assert (best.n, best.mean, best.values["optimizer"]) == (1, 0.95, "sgd")
    assert math.isnan(best.sd)
    assert math.isnan(best.half_width)
    assert second.n == 2
    assert second.mean == pytest.approx(0.91)
    assert second.half_width == pytest.approx(12.706 * 0.01414 / math.sqrt(2), rel=1e-3)
    assert dict(second.states) == {"complete": 3, "failed": 1}
    assert second.seeds == (1, 2)


def test_pruned_runs_are_compared_at_an_epoch_that_all_have_reached() -> None:
    whole = replace(run(0, 0.9), curve=((0, 0.5), (1, 0.6), (2, 0.9)))
    pruned = replace(run(1, 0.55, "pruned"), curve=((0, 0.3), (1, 0.55)))
    compared = comparable(results(whole, pruned))
    assert (compared.epoch, compared.values) == (1, (0.6, 0.55))
    assert any("epoch 1" in warning for warning in findings(results(whole, pruned)).warnings)
    assert comparable(results(whole, run(1, 0.5, "pruned"))).warning


def test_pairs_say_better_indistinguishable_or_nothing() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, NOISE, 6)
    runs = [run(seed, 0.95 + noise[seed], optimizer="adam") for seed in range(6)]
    runs += [run(seed, 0.93 + noise[seed] + 1e-4 * seed, optimizer="sgd") for seed in range(6)]
    runs += [
        run(seed, 0.9495 + float(rng.normal(0, NOISE)), optimizer="adadelta") for seed in range(6)
    ]
    runs += [run(seed, 0.92, optimizer="nadam") for seed in range(2)]
    verdicts = {
        pair.other.values["optimizer"]: pair.verdict for pair in findings(results(*runs)).pairs
    }
    assert verdicts["sgd"] == "better"
    assert verdicts["adadelta"].startswith("indistinguishable")
    assert verdicts["nadam"].startswith("fewer than 3")


def test_seeds_needed_are_those_of_the_t_test() -> None:
    """The number of seeds needed is that of the paired t test.

    Cohen (1988), table 2.4.1: d = 0.5 needs 34 pairs at 5 %, two-sided, power 80 %.
    """
    assert seeds_needed(0.5, 1.0) == 34
    assert seeds_needed(1e-4, 1.0) is None
    assert seeds_needed(5.0, 0.0) == 3
    assert seeds_needed(1.0, math.nan) is None


def test_values_under_which_runs_fail_are_told() -> None:
    runs = [run(seed, 0.9 + seed / 1e3) for seed in range(12)] + [
        run(seed, None, "diverged", optimizer="sgd") for seed in range(8)
    ]
    (one,) = findings(results(*runs)).failing
    assert (one.level.text, one.failed, one.of, one.elsewhere) == ("sgd", 8, 8, 0)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ((), "There are no runs"),
        ((run(),), "from one run"),
        ((run(0, None, "failed"), run(1, None, "diverged")), "No run has finished"),
        ((run(0, None), run(1, math.nan)), "No complete run has a finite val/acc"),
        (
            tuple(run(seed) for seed in range(9)),
            "All runs that can be compared have the same val/acc",
        ),
        (
            tuple(run(seed, 0.9, lr=10.0**-lr) for seed in range(3) for lr in range(1, 5)),
            "the same val/acc",
        ),
        ((run(0, math.inf), run(1, 0.4), run(2, None, "running")), "from one run"),
        ((run(None), run(None)), "in the median of 2 runs"),
    ],
)
def test_whatever_came_out_there_is_something_sensible_to_say(
    runs: tuple[Run, ...], said: str
) -> None:
    assert said in " ".join(findings(results(*runs)).sentences)


TRIED = {
    "optimizer": st.sampled_from(["adam", "sgd", None]),
    "lr": st.sampled_from([1e-4, 1e-3, 0.1, "x"]),
}
RUNS = st.lists(
    st.builds(
        Run,
        st.just("r"),
        st.just("r"),
        st.fixed_dictionaries({}, optional=TRIED),
        st.none() | st.integers(0, 3),
        st.sampled_from(["complete", "complete", "pruned", "failed", "running", "killed"]),
        st.none() | st.floats() | st.sampled_from([0.5, 0.6, 0.7]),
        st.sampled_from([(), ((0, 0.5), (1, 0.6)), ((0, math.nan),)]),
    ),
    max_size=30,
).map(tuple)


@given(RUNS, st.sampled_from(["max", "min"]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_results_have_findings(runs: tuple[Run, ...], direction: str) -> None:
    with patch("tunebook.analysis.importance.BOOTSTRAPS", 2):
        found = findings(results(*runs, direction=direction))
    assert found.sentences
    assert all(sentence.endswith(".") for sentence in (*found.sentences, *found.warnings))


def test_commands_can_be_typed() -> None:
    """The next commands have seeds that are new to all, and options before their values."""
    found = findings(
        results(run(0, 0.90), run(1, 0.91), run(0, 0.7, optimizer="sgd"), adaptive=True),
        ["data=digits"],
    )
    *seeds, comparison = found.next_commands
    for rank, (command, optimizer) in enumerate(zip(seeds, ("adam", "sgd"), strict=True), 1):
        words = (
            f"python src/train.py -m data=digits optimizer={optimizer} lr=0.001 "
            "'seed=range(2,7)' sweep.test=false "
        )
        assert command.startswith(words)
        assert re.fullmatch(rf'sweep\.name="s finalist {rank} \w{{6}}"', shlex.split(command)[-1])
    assert shlex.split(comparison)[2:] == ['runs=tags."sweep.name" LIKE "s finalist %"']
    assert any("adaptive" in warning for warning in found.warnings)


@pytest.mark.usefixtures("few_bootstraps")
def test_a_list_that_ends_too_early_is_gone_on_with() -> None:
    rng = np.random.default_rng(0)
    found = findings(
        study(
            (FILTERS, AUGMENTATION),
            lambda v: 0.9 + 0.02 * place(FILTERS, v["model.filters"]),
            noise=NOISE,
            rng=rng,
        )
    )
    assert [(edge.upwards, edge.end) for edge in found.edges] == [(True, 64.0)]
    assert "model.filters=64,128" in found.next_commands[0]


@pytest.mark.usefixtures("few_bootstraps")
def test_a_share_does_not_go_below_nothing() -> None:
    rng = np.random.default_rng(0)
    found = findings(
        study(
            (DROPOUT, AUGMENTATION),
            lambda v: 0.9 - 0.02 * place(DROPOUT, v["model.dropout"]),
            noise=NOISE,
            rng=rng,
        )
    )
    assert [edge.upwards for edge in found.edges] == [False]
    assert not any("interval" in command for command in found.next_commands)


@pytest.mark.slow
def test_two_thousand_runs_take_seconds() -> None:
    rng = np.random.default_rng(0)
    settings = (*ALL, Setting("a.b", True, (), 0.0, 1.0), Setting("c.d", False, ("x", "y")))
    many = study(settings, Plan({}).truth, noise=NOISE, rng=rng, configurations=2000)
    begun = time.process_time()
    findings(many)
    assert time.process_time() - begun < 8
