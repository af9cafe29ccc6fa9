"""Any results give a sensible leaderboard, pairs, sentences and commands to run next."""

import json
import math
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers.studies import (
    ALL,
    AUGMENTATION,
    DROPOUT,
    FILTERS,
    LR,
    OPTIMIZER,
    Plan,
    place,
    study,
)
from tests.unit.analysis.test_findings import (  # noqa: F401  (the fixtures are used by their names)
    NOISE,
    _no_collections,
)
from tunebook.analysis.as_json import as_json
from tunebook.analysis.comparable import comparable
from tunebook.analysis.findings import findings
from tunebook.analysis.leaderboard import leaderboard
from tunebook.analysis.pairs import seeds_needed
from tunebook.analysis.results import Results, Run, Setting


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


def test_a_lucky_single_run_does_not_come_before_repeated_runs() -> None:
    """The noise between seeds is 0.3 points here: 0.1 points may be luck, 3 points are not."""
    repeated = [run(seed, 0.95 + step / 1e3, lr=1.0) for seed, step in enumerate((-4, -2, 0, 2, 4))]
    lucky, better = run(9, 0.951, lr=2.0), run(9, 0.98, lr=3.0)
    made = results(*repeated, lucky, run(9, 0.94, lr=4.0))
    assert [one.values["lr"] for one in leaderboard(made)] == [1.0, 2.0, 4.0]
    assert (
        "better medians of fewer runs (1 configuration) may be luck" in findings(made).sentences[0]
    )
    assert leaderboard(results(*repeated, lucky, better))[0].values["lr"] == 3.0
    once = results(*repeated[2:3], lucky)
    assert [one.values["lr"] for one in leaderboard(once)] == [2.0, 1.0]


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


def rates_that_do_not_learn(share: float, studies: int) -> Iterator[Results]:
    """Yield studies of two optimizers whose high learning rates often leave a run at chance.

    Each optimizer has a range of its own. share: of the runs in the upper third.
    """
    ranges = {"adam": (1e-4, 1e-2), "sgd": (1e-2, 1.0)}
    rates = {
        name: Setting(f"lr (optimizer={name})", True, (), low, high, log=True)
        for name, (low, high) in ranges.items()
    }
    for number in range(studies):
        rng = np.random.default_rng(number)
        runs = []
        for seed in range(60):
            name, place = ("adam", "sgd")[seed % 2], rng.random()
            low, high = ranges[name]
            values = {"optimizer": name, rates[name].name: low * (high / low) ** place}
            learns = rng.random() >= (share if place > 2 / 3 else 0.03)
            objective = float(rng.normal(0.95, 0.01)) if learns else 0.1
            runs.append(Run(str(seed), str(seed), values, 0, "complete", objective))
        settings = (OPTIMIZER, *rates.values())
        yield Results("s", "val/acc", "max", settings, tuple(runs), classes=10)


def test_ranges_of_one_key_are_counted_together_where_runs_do_not_learn() -> None:
    """What a high learning rate is depends on the optimizer; too few runs of each show it."""
    together = [
        one
        for made in rates_that_do_not_learn(0.5, 20)
        for one in findings(made).failing
        if one.setting.name == "lr"
    ]
    assert len(together) >= 15
    assert {one.level.text for one in together} == {"in the upper third of its range"}
    assert all(one.failed > one.elsewhere and not one.learns for one in together)
    made = next(rates_that_do_not_learn(0.5, 1))
    (said,) = [one for one in findings(made).sentences if one.startswith("Runs do not learn")]
    assert said.startswith("Runs do not learn with lr in the upper third of its range: ")
    equal = sum(bool(findings(made).failing) for made in rates_that_do_not_learn(0.03, 20))
    assert equal <= 2


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ((), "There are no runs"),
        ((run(),), "from one run"),
        ((run(0, None, "failed"), run(1, None, "diverged")), "No run has finished"),
        ((run(0, None), run(1, math.nan)), "No complete run has a finite val/acc"),
        (
            tuple(run(seed) for seed in range(9)),
            "All comparable runs have the same val/acc",
        ),
        (
            tuple(run(seed, 0.9, lr=10.0**-lr) for seed in range(3) for lr in range(1, 5)),
            "the same val/acc",
        ),
        ((run(0, math.inf), run(1, 0.4), run(2, None, "running")), "from one run"),
        ((run(None), run(None)), "the median of 2 runs"),
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
    found = findings(results(*runs, direction=direction))
    assert found.sentences
    assert all(sentence.endswith(".") for sentence in (*found.sentences, *found.warnings))
    assert json.loads(json.dumps(as_json(found), allow_nan=False))["name"] == found.results.name


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
