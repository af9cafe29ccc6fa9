"""The comparison of two runs names the first difference and whatever else differs."""

from dataclasses import replace
from typing import Any

import pytest

from tunebook.runs.snapshot import RunComparison, RunSnapshot

HERE = RunSnapshot(
    {
        (1, "val/loss"): 0.5,
        (1, "train/loss"): 0.6,
        (2, "val/loss"): 0.4,
        (2, "test/acc"): 0.9,
        (2, "best/epoch"): 2.0,
    },
    {"host": "a", "cpu": "b", "version.torch": "2", "git.commit": "c", "git.dirty": "false"},
    {"training": "0123"},
    {"torch": "2", "six": "1"},
)


@pytest.mark.parametrize(
    ("changed", "first", "said"),
    [
        (
            {(2, "test/acc"): 0.8, (1, "val/loss"): 0.51, (1, "train/loss"): 0.61},
            "train/loss at epoch 1: 0.6 -> 0.61",
            "3 of 5 points",
        ),
        (
            {(2, "test/acc"): 0.8, (2, "best/epoch"): 1.0},
            "best/epoch at epoch 2: 2.0 -> 1.0",
            "test/acc       0.9 -> 0.8   (0.11)",
        ),
        ({(3, "val/loss"): 0.3}, "val/loss at epoch 3: none -> 0.3", "1 of 6 points"),
        (
            {(1, "val/loss"): 0.51},
            "val/loss at epoch 1: 0.5 -> 0.51",
            "the final metrics are the same",
        ),
    ],
)
def test_the_first_difference_is_the_first_to_come_about(
    changed: dict[Any, float], first: str, said: str
) -> None:
    comparison = RunComparison(HERE, replace(HERE, points={**HERE.points, **changed}))
    assert comparison.first == first
    text = "\n".join(comparison.lines([]))
    assert said in text
    assert text.endswith(
        "no other difference was recorded: versions, machine and code are the same"
    )


def test_what_else_differs_is_listed() -> None:
    tags = {**HERE.tags, "host": "z", "version.torch": "3", "git.dirty": "true"}
    now = RunSnapshot({}, tags, {"training": "4567"}, {"torch": "3", "attrs": "2"})
    assert RunComparison(HERE, now).lines(["model.bias: no such setting -> true"])[-8:] == [
        "other differences, then -> now:",
        "  host: a -> z",
        "  git.dirty: false -> true",
        "  torch: 2 -> 3",
        "  attrs: none -> 2",
        "  six: 1 -> none",
        "  data for training: 0123 -> 4567",
        "  model.bias: no such setting -> true",
    ]
    dirty = replace(HERE, tags={**HERE.tags, "git.dirty": "true"})
    assert "uncommitted changes" in RunComparison(dirty, replace(dirty, points={})).lines([])[-1]
    # Without any point, there is nothing to compare.
    assert not RunComparison(replace(HERE, points={}), replace(HERE, points={})).same
