"""A step of an ablation is said to help only if its seeds show it."""

from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest

from tunebook.analysis.ablation import step_effects, whole_effect
from tunebook.metrics.facts import Direction

Values = dict[int, float]


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    """Disable garbage collection, which statsmodels' multipletests calls each time."""
    with patch("gc.collect"):
        yield


STUDIES = 1000


def path_of(*steps: Values) -> list[tuple[tuple[str, ...], Values]]:
    return [((f"c{n}",) if n else (), values) for n, values in enumerate(steps)]


def clear(start: float) -> Values:
    return {1: start, 2: start + 0.003, 3: start - 0.002, 4: start + 0.001}


def shifted(values: Values, by: float, noise: float = 0.0002) -> Values:
    return {seed: value + by + noise * (-1) ** seed for seed, value in values.items()}


@pytest.mark.parametrize(("direction", "verdict"), [("max", "helps"), ("min", "hurts")])
def test_a_clear_difference_is_named(direction: Direction, verdict: str) -> None:
    first = clear(0.98)
    (effect,) = step_effects(path_of(first, shifted(first, 0.01)), direction)
    assert effect.verdict == verdict
    assert effect.difference == pytest.approx(0.01)
    # The interval is that of Student's t over the differences.
    sd = np.std([0.0098, 0.0102, 0.0098, 0.0102], ddof=1)
    assert effect.half_width == pytest.approx(3.182446 * sd / 2)
    assert effect.p is not None
    assert effect.p < 0.001


def test_the_seeds_are_paired() -> None:
    """A difference that is small beside the spread between seeds is found within seeds."""
    first = {seed: 0.9 + 0.02 * seed for seed in range(5)}
    (effect,) = step_effects(path_of(first, shifted(first, 0.002)), "max")
    assert effect.verdict == "helps"


def test_nothing_is_shown_by_two_seeds() -> None:
    first = {1: 0.9, 2: 0.9}
    effects = step_effects(path_of(first, {1: 0.99, 2: 0.99}), "max")
    assert [(one.verdict, one.p) for one in effects] == [("nothing shown", None)]
    assert np.isnan(effects[0].half_width)


def test_p_is_adjusted_over_the_steps() -> None:
    first = clear(0.9)
    alone = step_effects(path_of(first, shifted(first, 0.001, 0.0004)), "max")
    second = shifted(first, 0.001, 0.0004)
    many = step_effects(path_of(first, second, second, second), "max")
    assert alone[0].verdict == "helps"
    assert many[0].p == pytest.approx(3 * (alone[0].p or 0))
    whole = whole_effect(path_of(first, second, second), "max")
    assert whole.keys == ("c1", "c2")
    assert whole.p == alone[0].p


@pytest.mark.parametrize("changes", [3, 6])
@pytest.mark.parametrize("seeds", [3, 5])
def test_changes_without_an_effect_are_rarely_said_to_have_one(changes: int, seeds: int) -> None:
    """The best change of a round is tested on the runs by which it was chosen.

    Even so, at most 7 % of paths without any effect have a step that is said to have one. The level
    is 5 %, and chance adds up to 2 points in this many studies.
    """
    random = np.random.default_rng(changes * 10 + seeds)
    wrong = 0
    for _ in range(STUDIES):
        path = [random.normal(size=seeds)]
        for left in range(changes, 0, -1):
            tried = random.normal(size=(left, seeds))
            path.append(tried[tried.mean(axis=1).argmax()])
        found = step_effects(path_of(*({**dict(enumerate(one))} for one in path)), "max")
        wrong += any(effect.verdict != "nothing shown" for effect in found)
    assert wrong <= 0.07 * STUDIES
