"""A cross-validation divides the images into folds of which each validates once."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from tunebook.config.validation import SettingError
from tunebook.data.splits import check_fold, fold_sizes, split_fold, split_off

CLASS_SIZES = st.lists(st.integers(2, 40), min_size=2, max_size=5)


def labels_of(sizes: list[int], seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels).astype(np.int64)


@given(sizes=CLASS_SIZES, share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))
def test_a_part_that_is_split_off_is_the_one_that_scikit_learn_chooses(
    sizes: list[int], share: float, seed: int
) -> None:
    labels = labels_of(sizes, seed % 1000)
    size = round(share * len(labels))
    assume(min(size, len(labels) - size) >= len(sizes))
    expected = train_test_split(
        np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed
    )
    for found, theirs in zip(split_off(labels, size, seed), expected, strict=True):
        assert found.tolist() == sorted(theirs)


@pytest.mark.parametrize(
    ("sizes", "size", "problem"),
    [([20, 1], 5, "1 of the classes have only one image"), ([20, 20, 20], 2, "in both parts")],
)
def test_classes_that_can_not_be_split(sizes: list[int], size: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        split_off(labels_of(sizes, 0), size, 0)


@given(sizes=CLASS_SIZES, folds=st.integers(2, 10), seed=st.integers(0, 2**32 - 1))
def test_each_image_validates_once_and_classes_keep_their_shares(
    sizes: list[int], folds: int, seed: int
) -> None:
    assume(folds <= min(sizes))
    labels = labels_of(sizes, seed % 1000)
    validated = []
    for fold in range(folds):
        kept, taken = split_fold(labels, folds, fold, seed)
        assert (len(kept), len(taken)) == fold_sizes(len(labels), folds, fold)
        assert sorted([*kept, *taken]) == list(range(len(labels)))
        counts = np.bincount(labels[taken], minlength=len(sizes))
        assert all(abs(count - size / folds) < 1 for count, size in zip(counts, sizes, strict=True))
        validated += list(taken)
    assert sorted(validated) == list(range(len(labels)))


def test_a_fold_depends_on_the_seed_alone() -> None:
    labels = labels_of([30, 30], 0)
    first, again, other = (split_fold(labels, 3, 1, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again != other


@given(seed=st.integers(0, 2**32 - 1), folds=st.integers(2, 5))
def test_images_of_a_group_stay_together(seed: int, folds: int) -> None:
    labels = labels_of([40, 40], seed % 1000)
    groups = [f"camera {number}" for number in np.random.default_rng(seed).integers(0, 12, 80)]
    assume(folds <= len(set(groups)))
    validated = []
    for fold in range(folds):
        kept, taken = split_fold(labels, folds, fold, seed, groups)
        assert not {groups[i] for i in kept} & {groups[i] for i in taken}
        validated += list(taken)
    assert sorted(validated) == list(range(80))


def test_too_few_images_or_groups() -> None:
    labels = labels_of([20, 4], 0)
    with pytest.raises(ValueError, match="must be at most 4, the number of images of the smallest"):
        split_fold(labels, 5, 0, 0)
    with pytest.raises(ValueError, match=r"must be at most 2, the number of .*groups"):
        split_fold(labels, 3, 0, 0, ["a", "b"] * 12)


@pytest.mark.parametrize(("folds", "fold"), [(5, 5), (2, 9), (None, 1)])
def test_a_fold_that_does_not_exist(folds: int | None, fold: int) -> None:
    with pytest.raises(SettingError, match=r"fold=\d"):
        check_fold(folds, fold)


def test_folds_that_exist() -> None:
    for folds, fold in ((5, 4), (2, 0), (None, 0)):
        check_fold(folds, fold)
