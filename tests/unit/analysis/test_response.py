"""Objectives are transformed to a scale on which higher is better, and back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.studies import FILTERS, LR, place, study
from tunebook.analysis.comparable import comparable
from tunebook.analysis.design import design
from tunebook.analysis.response import scales
from tunebook.analysis.results import Results, Value


def results(objective: str, direction: str) -> Results:
    return Results("study", objective, direction, (), ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("objective", "direction"),
    [("val/acc", "max"), ("val/ece", "min"), ("val/loss", "min"), ("val/own", "max")],
)
def test_higher_is_better_on_each_scale(objective: str, direction: str) -> None:
    values = [0.0, 0.2, 0.5, 0.99, 1.0]
    for scale in scales(results(objective, direction), values):
        scaled = list(scale.forward(values))
        assert scaled == sorted(scaled, reverse=direction == "min")
        assert np.isfinite(scaled).all()
        assert scale.back(scaled[2]) == pytest.approx(0.5)


@given(st.lists(st.floats(0, 1), min_size=1), st.sampled_from(["val/acc", "val/ece"]))
def test_values_come_back(values: list[float], objective: str) -> None:
    scale = scales(results(objective, "max" if objective == "val/acc" else "min"), values)[0]
    back = [scale.back(score) for score in scale.forward(values)]
    assert back == pytest.approx(values, abs=max(1e-9, 2 * scale.smallest))


def test_values_beyond_the_limit_have_no_logarithm() -> None:
    (only,) = scales(results("val/acc", "max"), [0.5, 1.2])
    assert only.perfect is None
    assert list(only.forward([0.5, 1.2])) == [0.5, 1.2]


@pytest.mark.parametrize("multiplied", [True, False])
def test_the_scale_is_the_one_on_which_effects_add_up(multiplied: bool) -> None:
    """Settings that multiply the error are described on its logarithm, others are not."""

    def truth(values: dict[str, Value]) -> float:
        effects = 1.5 * place(LR, values["lr"]) + place(FILTERS, values["model.filters"])
        return 1 - 0.3 * math.exp(-effects) if multiplied else 0.5 + 0.15 * effects

    rng = np.random.default_rng(0)
    made = study((LR, FILTERS), truth, noise=0.002, rng=rng, configurations=60)
    model = design(made, comparable(made))
    assert model is not None
    assert (model.scale.perfect is not None) == multiplied
