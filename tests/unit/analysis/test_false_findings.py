"""Findings are not wrong for repeated seeds, failed runs, pruned trials or pure noise."""

import re
from collections.abc import Iterator
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
    place,
    study,
)
from tests.helpers.truths import CONFIGURATION_NOISE, SEED_NOISE, Halving, analysed, repeated
from tunebook.analysis.comparable import comparable
from tunebook.analysis.findings import findings
from tunebook.analysis.leaderboard import leaderboard, seed_noise
from tunebook.analysis.results import Results, Run, Setting

# Dropout is harmful in the first epochs and helpful in the last; the learning rate helps in all.
MISLEADING = Halving(
    early={"model.dropout": -0.02, "lr": 0.02}, late={"model.dropout": 0.02, "lr": 0.02}
)
OF_HALVING = (OPTIMIZER, LR, DROPOUT, FILTERS, BATCH)


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    """Disable garbage collection.

    Statsmodels collects at each call, which takes a fifth of a second once torch is loaded.
    """
    with patch("gc.collect"):
        yield


def called(
    studies: int, configurations: int, seeds: int, settings: tuple[Setting, ...] = ALL
) -> float:
    """Return the share of studies of pure noise in which some setting is said to matter."""
    results = (
        repeated(np.random.default_rng(n), configurations, seeds, settings=settings)
        for n in range(studies)
    )
    found = [any(effect.matters for effect in analysed(one).effects.settings) for one in results]
    return sum(found) / studies


def test_noise_of_repeated_configurations_is_not_called_important() -> None:
    """At most 5 of 30 studies of noise call a setting important.

    At a rate of 5 %, 1.5 are expected; 5 is the binomial bound of 1 %.
    """
    assert called(30, 12, 5) <= 5 / 30


@pytest.mark.slow
@pytest.mark.parametrize("configurations", [8, 12, 20, 30])
@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("settings", [ALL, (LR, DROPOUT), (OPTIMIZER, AUGMENTATION, BATCH)])
def test_error_rate_of_repeated_configurations(
    configurations: int, seeds: int, settings: tuple[Setting, ...]
) -> None:
    """At most 11 of 100 studies of noise call a setting important.

    At a rate of 5 %, 5 are expected; 11 is the binomial bound of 1 %.
    """
    assert called(100, configurations, seeds, settings) <= 11 / 100


def test_too_few_configurations_are_said_to_be_too_few() -> None:
    found = findings(repeated(np.random.default_rng(0), 6, 5, slope=0.05))
    assert all(effect.p is None for effect in found.effects)
    assert "6 different configurations are too few to test any setting" in " ".join(found.sentences)


def found_of(studies: int, seeds: int, sinks: float) -> float:
    """Return the share of studies that find the learning rate, 5 times the noise."""
    results = (
        repeated(np.random.default_rng(n), 40, seeds, slope=0.02, sinks=sinks)
        for n in range(studies)
    )
    matter = [
        {e.setting.name for e in analysed(one).effects.settings if e.matters} for one in results
    ]
    return sum("lr" in names for names in matter) / studies


def test_an_effect_is_found_where_one_run_in_three_does_not_learn() -> None:
    one, three = (found_of(12, seeds, 1 / 3) for seeds in (1, 3))
    assert three >= one >= 0.9


def with_one_sink_each(rng: np.random.Generator, at: float) -> Results:
    """Return a study in which one of each configuration's three runs ends at this value."""
    made = repeated(rng, 12, 3, slope=0.02)
    runs = [replace(run, objective=at) if n % 3 == 1 else run for n, run in enumerate(made.runs)]
    return replace(made, runs=tuple(runs))


@pytest.mark.parametrize(
    ("classes", "at"), [(10, 0.1135), (10, 0.098), (None, 0.1135), (None, 0.3)]
)
def test_runs_at_chance_are_counted_and_not_averaged(classes: int | None, at: float) -> None:
    results = replace(with_one_sink_each(np.random.default_rng(3), at), classes=classes)
    if classes and at > 0.15:
        pytest.skip("not at chance level")
    found = findings(results)
    text = " ".join(found.sentences)
    assert found.noise is not None
    assert found.noise.sd == pytest.approx(SEED_NOISE, rel=0.7)
    assert "12 of 36 runs (33 %) did not learn" in text
    assert re.search(r"The seed alone changes val/acc by 0\.\d\d points", text)
    assert all(one.median > 0.9 and one.at_chance == 1 for one in found.leaderboard)


def test_one_odd_run_that_is_not_at_chance_does_not_make_the_noise() -> None:
    made = repeated(np.random.default_rng(1), 12, 3)
    runs = [
        replace(run, objective=0.7) if n in (1, 5, 9) else run for n, run in enumerate(made.runs)
    ]
    noise = seed_noise(leaderboard(replace(made, runs=tuple(runs), classes=10)))
    assert noise is not None
    assert noise.sd < 3 * SEED_NOISE


def test_a_configuration_that_mostly_fails_does_not_lead() -> None:
    rows = [
        ("adam", (0.97, 0.971, 0.969)),
        ("sgd", (0.99, 0.1, 0.1)),
        ("adadelta", (0.95, 0.951, 0.1)),
    ]
    runs = [
        Run(f"{name}{seed}", "r", {"optimizer": name}, seed, "complete", value)
        for name, values in rows
        for seed, value in enumerate(values)
    ]
    board = leaderboard(Results("s", "val/acc", "max", (OPTIMIZER,), tuple(runs), classes=10))
    assert [one.values["optimizer"] for one in board] == ["adam", "adadelta", "sgd"]
    assert [one.at_chance for one in board] == [0, 1, 2]


def test_a_value_under_which_runs_do_not_learn_is_told() -> None:
    made = repeated(np.random.default_rng(0), 40, 3)
    runs = [
        replace(run, objective=0.1) if run.values["optimizer"] == "sgd" else run
        for run in made.runs
    ]
    text = " ".join(findings(replace(made, runs=tuple(runs), classes=10)).sentences)
    assert "Runs do not learn with optimizer sgd" in text
    assert "Runs do not learn with data" not in text


def test_failures_of_whole_configurations_blame_no_other_setting() -> None:
    """Five failed seeds of one configuration are not five independent failures.

    One configuration in four never learns, and no setting is blamed for that.
    """
    blamed = 0
    for number in range(20):
        rng = np.random.default_rng(number)
        made = repeated(rng, 20, 5)
        bad = rng.random(20) < 0.25
        runs = [
            replace(run, objective=0.1) if bad[n // 5] else run for n, run in enumerate(made.runs)
        ]
        blamed += bool(findings(replace(made, runs=tuple(runs), classes=10)).failing)
    assert blamed <= 4


def early_errors(studies: int) -> dict[str, float]:
    """Return the shares of pruned studies with certain findings.

    edge: an edge of the search space; best: a value called best; noise: a setting without
    effect that is said to matter; lr: the learning rate, rightly said to matter.
    """
    counts = dict.fromkeys(("edge", "best", "noise", "lr"), 0)
    for number in range(studies):
        found = findings(MISLEADING.results(OF_HALVING, np.random.default_rng(number)))
        matter = {effect.setting.name for effect in found.effects if effect.matters}
        said = [sentence for sentence in found.sentences if not sentence.startswith("Best: ")]
        counts["edge"] += bool(found.edges) or any("extend" in sentence for sentence in said)
        counts["best"] += any(re.search(r"\bbest \S+ to|is best at|: best", s) for s in said)
        counts["noise"] += bool(matter - {"lr", "model.dropout"})
        counts["lr"] += "lr" in matter
    return {name: count / studies for name, count in counts.items()}


def test_pruned_studies_call_no_value_the_best() -> None:
    found = early_errors(6)
    assert found["edge"] == found["best"] == 0


@pytest.mark.slow
def test_error_rates_of_pruned_studies() -> None:
    """Pruned studies name no edge and no best value, and rarely call noise important.

    At a rate of 5 %, 5 of 100 are expected; 11 is the binomial bound of 1 %.
    """
    found = early_errors(100)
    assert found["edge"] == found["best"] == 0
    assert found["noise"] <= 0.11
    assert found["lr"] >= 0.6


def test_pruned_studies_are_compared_at_the_highest_rung_with_enough_runs() -> None:
    results = MISLEADING.results(OF_HALVING, np.random.default_rng(0))
    compared = comparable(results)
    assert (compared.epoch, len(compared.runs)) == (3, 27)
    said = " ".join(findings(results).warnings)
    assert "up to epoch 3, which 27 of 81 have reached" in said


def test_what_was_not_found_is_said_with_what_would_have_been() -> None:
    found = findings(repeated(np.random.default_rng(0), 60, 1, slope=0.03))
    (said,) = [
        sentence for sentence in found.sentences if sentence.startswith("No effect was found")
    ]
    assert re.search(r"model\.dropout \(\d\.\d\d points\)", said)
    assert "within the noise" not in " ".join(found.sentences)
    assert "power of 80 %" in said
    assert "lr" not in said.split(".")[0].split()


@pytest.mark.slow
@pytest.mark.parametrize(("configurations", "seeds"), [(20, 3), (60, 1), (100, 1)])
def test_the_smallest_effect_is_found_in_about_four_of_five_studies(
    configurations: int, seeds: int
) -> None:
    smallest = []
    for number in range(40):
        made = repeated(np.random.default_rng(number), configurations, seeds)
        smallest += [
            e.smallest for e in analysed(made).effects.settings if e.setting is LR and e.smallest
        ]
    slope = float(np.median(smallest))
    assert slope < 6 * CONFIGURATION_NOISE
    hits = 0
    for number in range(100):
        made = repeated(np.random.default_rng(1000 + number), configurations, seeds, slope=slope)
        hits += any(
            effect.matters for effect in analysed(made).effects.settings if effect.setting is LR
        )
    assert 0.65 <= hits / 100 <= 0.92


def best_values(text: str) -> dict[str, set[str]]:
    """Return the values that sentences call best, by setting.

    Sentences that explain the difference in another way are left out.
    """
    found: dict[str, set[str]] = {}
    for name, value in re.findall(r"(\S+) matters \(p [^)]*\): best ([^,]+),", text):
        found.setdefault(name, set()).add(value)
    return found


def one_story(number: int) -> None:
    rng = np.random.default_rng(number)
    sizes = {
        setting.name: float(rng.choice([0.0, 0.004, 0.02]) * rng.choice([-1, 1])) for setting in ALL
    }
    truth = lambda v: 0.95 + sum(sizes[s.name] * place(s, v[s.name]) for s in ALL)  # noqa: E731
    configurations, seeds = int(rng.choice([12, 30, 60])), int(rng.choice([1, 3]))
    made = study(ALL, truth, noise=0.004, rng=rng, configurations=configurations, seeds=seeds)
    found = findings(made)
    leader = found.leaderboard[0].values
    text = "\n".join(found.sentences)
    for effect in found.effects:
        if not effect.matters:
            continue
        best = effect.levels[0].level
        of_best = {repr(made.runs[m].values[effect.setting.name]) for m in best.members}
        (sentence,) = [s for s in found.sentences if s.startswith(f"{effect.setting.name} matters")]
        explained = "the best single configuration has" in sentence
        assert (repr(leader[effect.setting.name]) in of_best) != explained
        for edge in found.edges:
            if edge.setting is effect.setting:
                places = [one.level.place for one in effect.levels]
                assert best.place == (max(places) if edge.upwards else min(places))
    assert all(len(values) == 1 for values in best_values(text).values())


@pytest.mark.parametrize("number", range(4))
def test_sentences_tell_one_story(number: int) -> None:
    one_story(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4, 84))
def test_sentences_of_random_studies_tell_one_story(number: int) -> None:
    one_story(number)
