"""Pictures of one setting show the best for each value, and differences near the top."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.studies import ALL, FILTERS, LR, place, study, with_tail
from tunebook.analysis.findings import Findings, findings
from tunebook.analysis.results import Results, Run, Setting
from tunebook.report.pictures import Picture, cost, isolation
from tunebook.report.pictures.axes import scale_of_errors
from tunebook.report.pictures.style import ORANGE, RED, axes_of


def studied() -> Results:
    rng = np.random.default_rng(0)
    results = study(
        (LR, FILTERS),
        lambda values: 0.9 + 0.09 * place(LR, values["lr"]),
        noise=0.001,
        rng=rng,
        configurations=40,
        seeds=2,
    )
    return dataclasses.replace(with_tail(results, 0.1, rng), classes=10)


def drawn(results: Results, name: str) -> tuple[Findings, Picture]:
    found = findings(results)
    (effect,) = [one for one in found.effects if one.setting.name == name]
    return found, isolation.of_setting(results, found, effect, 0)


def test_runs_that_did_not_learn_are_crosses_at_the_bottom() -> None:
    results = studied()
    _, picture = drawn(results, "lr")
    axes = picture.figure.axes[0]
    lost = sum(run.objective == 0.1 for run in results.runs)
    assert lost > 2
    (crosses,) = [line for line in axes.lines if line.get_color() == ORANGE]
    assert len(crosses.get_xdata()) == lost
    assert f"Crosses at the bottom: {lost} runs that did not learn." in picture.caption
    assert axes.get_ylim()[0] > 85  # they do not press the others together
    assert "Matters, adjusted p < 0.0001, n = 40 configurations." in picture.caption


def test_the_best_configuration_of_each_value_is_a_line() -> None:
    results = studied()
    found, picture = drawn(results, "model.filters")
    axes = picture.figure.axes[0]
    lines = [line for line in axes.lines if line.get_color() == RED and len(line.get_xdata()) == 2]
    heights = {round(float(line.get_ydata()[0]), 6) for line in lines}  # type: ignore[index]
    units = found.compared.units()
    for filters in (16, 32, 64):
        best = max(unit.value for unit in units if unit.row["model.filters"] == filters)
        assert round(100 * best, 6) in heights


def test_errors_are_on_a_logarithmic_scale_labelled_in_accuracy() -> None:
    figure, axes = axes_of(3)
    scale_of_errors(axes, [80.0, 90.0, 99.0, 99.9])
    figure.canvas.draw()
    low, middle, high = (axes.transData.transform((0, y))[1] for y in (90.0, 99.0, 99.9))
    assert middle - low == pytest.approx(high - middle)
    assert {"90", "99"} <= {label.get_text() for label in axes.get_yticklabels()}


@pytest.mark.parametrize("values", [[100.0], [100.0, 100.0], [0.0, 100.0], [97.0], [12.5, 12.5]])
def test_extreme_accuracies_can_be_drawn(values: list[float]) -> None:
    figure, axes = axes_of(3)
    scale_of_errors(axes, values)
    axes.plot(range(len(values)), values, "o")
    figure.canvas.draw()
    low, high = axes.get_ylim()
    assert 0 <= low < high <= 100


@pytest.mark.parametrize("objective", ["val/loss", "val/ece", "val/auroc", "val/own"])
def test_other_metrics_can_be_drawn(objective: str) -> None:
    results = dataclasses.replace(
        studied(),
        objective=objective,
        direction="min" if objective in ("val/loss", "val/ece") else "max",
    )
    _, picture = drawn(results, "lr")
    assert picture.svg()


def test_the_front_is_drawn_and_named() -> None:
    results = studied()
    rng = np.random.default_rng(1)
    runs = [dataclasses.replace(run, seconds=float(rng.uniform(5, 50))) for run in results.runs]
    results = dataclasses.replace(results, runs=tuple(runs))
    picture = cost.against_time(results, findings(results))
    assert "Red: configurations than which none is both better and faster. 1: " in picture.caption


def test_pruned_runs_are_not_in_the_picture_of_time() -> None:
    runs = [
        Run(str(number), "", {"lr": number}, 1, state, 0.9, ((1, 0.9),), 10.0 + number)
        for number, state in enumerate(("complete", "pruned", "pruned"))
    ]
    results = Results("study", "val/acc", "max", (Setting("lr", True, (), 0, 3),), tuple(runs))
    assert not cost.can_be_drawn(findings(results))


def test_all_settings_of_a_study_can_be_drawn() -> None:
    results = study(ALL, lambda values: 0.9, noise=0.01, rng=np.random.default_rng(0))
    for setting in ALL:
        _, picture = drawn(results, setting.name)
        assert picture.svg()
