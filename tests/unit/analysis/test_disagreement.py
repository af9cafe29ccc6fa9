"""McNemar's test compares two runs on the images on which they disagree."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from tunebook.analysis.disagreement import ClassifiedImage, compare_images


def classified(labels: list[str], predicted: list[str]) -> list[ClassifiedImage]:
    pairs = zip(labels, predicted, strict=True)
    return [ClassifiedImage(str(place), label, guess) for place, (label, guess) in enumerate(pairs)]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_exact_test_of_mcnemar(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.choice(list("abc"), 200)
    first = np.where(draw.random(200) < 0.9, labels, "z")
    second = np.where(draw.random(200) < 0.8, labels, draw.choice(list("yz"), 200))
    found = compare_images(
        classified(list(labels), list(first)), classified(list(labels), list(second))
    )
    a, b = first == labels, second == labels
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert len(found.only_first) == table[0][1]
    assert len(found.only_second) == table[1][0]
    assert len(found.differing) == (first != second).sum()
    assert found.is_clear == (found.p < 0.05)


def test_runs_that_agree_are_not_told_apart() -> None:
    one = classified(["a", "b"], ["a", "a"])
    found = compare_images(one, one)
    assert (found.p, found.differing, found.is_clear) == (1.0, [], False)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="different images"):
        compare_images(classified(["a"], ["a"]), classified(["b"], ["a"]))
