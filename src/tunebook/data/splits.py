"""Divide images into a training, a validation and a test split.

A split depends on the images' order, their labels, their groups and a seed, and on nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tunebook.config.validation import SettingError
from tunebook.data.download import DataError
from tunebook.data.listing import SPLITS, Listing

Folds = Annotated[int, Field(ge=2, le=100)]
Labels = npt.NDArray[np.int64]
Splits = npt.NDArray[np.str_]
SHOWN = 3  # class names in a message


@dataclass(frozen=True)
class Division:
    """State how images are divided where nothing else says so.

    val_fraction, test_fraction: of the training images. With `folds`, part `fold` of a
    cross-validation of the training and the validation images takes the place of the validation
    split.
    """

    val_fraction: float
    test_fraction: float
    seed: int
    folds: int | None = None
    fold: int = 0


def splits_of(listing: Listing, division: Division) -> Splits:
    """Return the split of each image: "train", "val" or "test".

    A split that the listing does not state is taken from the training images. Raises SettingError,
    with the key of the setting, if a split can't be taken, and DataError if a split lacks a class.
    """
    splits = np.array(listing.splits or ["train"] * len(listing.paths), dtype="<U5")
    # The test images are taken first, so that they do not depend on the validation's fraction.
    if not (splits == "test").any():
        _take(splits, "test", division.test_fraction, division.seed, listing)
    if division.folds:
        _take_fold(splits, division.folds, division.fold, division.seed, listing)
    elif not (splits == "val").any():
        _take(splits, "val", division.val_fraction, division.seed, listing)
    _require_all_classes(splits, listing)
    return splits


def _take_fold(splits: Splits, folds: int, fold: int, seed: int, listing: Listing) -> None:
    """Divide the training and the validation images anew: one fold validates."""
    rows = np.flatnonzero(splits != "test")
    groups = None if listing.groups is None else [listing.groups[row] for row in rows]
    try:
        _, taken = split_fold(listing.labels[rows], folds, fold, seed, groups)
    except ValueError as error:
        raise SettingError("folds", folds, str(error)) from None
    splits[rows] = "train"
    splits[rows[taken]] = "val"


def _take(splits: Splits, name: str, fraction: float, seed: int, listing: Listing) -> None:
    """Move a part of the training images to another split."""
    rows = np.flatnonzero(splits == "train")
    size = round(fraction * len(rows))
    groups = None if listing.groups is None else [listing.groups[row] for row in rows]
    classes = len(np.unique(listing.labels[rows]))
    try:
        if min(size, len(rows) - size) < classes:
            raise ValueError(f"each of the {classes} classes needs an image in both parts")
        _, taken = split_off(listing.labels[rows], size, seed, groups)
    except ValueError as error:
        message = f"can't split {len(rows)} images into training and {name} images: {error}"
        raise SettingError(f"{name}_fraction", fraction, message) from None
    splits[rows[taken]] = name


def _require_all_classes(splits: Splits, listing: Listing) -> None:
    for name in SPLITS:
        counts = np.bincount(listing.labels[splits == name], minlength=len(listing.class_names))
        if (counts == 0).any():
            missing = [listing.class_names[i] for i in np.flatnonzero(counts == 0)[:SHOWN]]
            raise DataError(
                f"{listing.folder}: no {name} image of the class {', '.join(missing)}; "
                "each class needs images in every split"
            )


def split_off(
    labels: Labels, size: int, seed: int, groups: Sequence[str] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions of the images that stay and of those that are split off, both sorted.

    The classes have the same shares in both, as far as possible.
    size: the number of images to split off. With `groups`, images of one group stay together, and
    the number is only approximate. Raises ValueError if that is not possible.
    """
    if groups is None:
        return _split_classes(labels, size, seed)
    from sklearn.model_selection import StratifiedGroupKFold

    folds = max(2, round(len(labels) / size))
    if folds > len(set(groups)):
        raise ValueError(f"{len(set(groups))} groups can't be split into {folds} parts")
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    kept, taken = min(
        splitter.split(np.empty(len(labels)), labels, np.asarray(groups)),
        key=lambda parts: abs(len(parts[1]) - size),
    )
    return np.sort(kept), np.sort(taken)


def _split_classes(
    labels: Labels, size: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return what scikit-learn's stratified `train_test_split` returns, sorted.

    The split of a run must not change with the version of a library, and importing scikit-learn
    takes a second of each run's start.
    """
    classes, members = np.unique(labels, return_inverse=True)
    counts = np.bincount(members)
    if counts.min() < 2:
        raise ValueError(f"{np.count_nonzero(counts < 2)} of the classes have only one image")
    if min(size, len(labels) - size) < len(classes):
        raise ValueError(f"each of the {len(classes)} classes needs an image in both parts")
    rng = np.random.RandomState(seed)
    kept = _shares(counts, len(labels) - size, rng)
    _shares(counts - kept, size, rng)  # scikit-learn draws here too, although no choice is left
    taken = [
        np.flatnonzero(members == number)[rng.permutation(count)[kept[number] :]]
        for number, count in enumerate(counts)
    ]
    is_taken = np.zeros(len(labels), dtype=bool)
    is_taken[np.concatenate(taken)] = True
    return np.flatnonzero(~is_taken), np.flatnonzero(is_taken)


def _shares(counts: Labels, total: int, rng: np.random.RandomState) -> Labels:
    """Return how many images to take of each class, so that they are `total` images.

    The classes with the largest remainders are rounded up; `rng` chooses among equal ones.
    """
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    missing = int(total - shares.sum())
    remainders = exact - shares
    for value in np.unique(remainders)[::-1]:
        if missing <= 0:
            break
        equal = np.flatnonzero(remainders == value)
        chosen = rng.choice(equal, size=min(len(equal), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    whole: Labels = shares.astype(np.int64)
    return whole


def split_fold(
    labels: Labels, folds: int, fold: int, seed: int, groups: Sequence[str] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions of the images to train on and of those that validate, both sorted.

    These are one of the divisions of a cross-validation: each image validates in one of `folds`
    folds. The classes have the same shares in all of them, as far as possible, and their sizes are
    those of `fold_sizes`. With `groups`, images of one group stay together, and the sizes are only
    approximate. Raises ValueError if there are not enough images or groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    fewest, what = int(np.bincount(labels).min()), "images of the smallest class"
    if groups is not None:
        fewest, what = min(fewest, len(set(groups))), "images of the smallest class, or groups"
    if folds > fewest:
        raise ValueError(f"must be at most {fewest}, the number of {what}")
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(
        n_splits=folds, shuffle=True, random_state=seed
    )
    parts = splitter.split(np.empty(len(labels)), labels, groups)
    kept, taken = list(parts)[fold]
    return np.sort(kept), np.sort(taken)


def fold_sizes(images: int, folds: int, fold: int) -> tuple[int, int]:
    """Return how many of these images a fold trains on, and with how many it validates.

    scikit-learn's StratifiedKFold gives each fold every `folds`-th image in the order of the
    classes.
    """
    size = len(range(fold, images, folds))
    return images - size, size


def check_fold(folds: int | None, fold: int) -> None:
    """Raise SettingError for a fold that does not exist."""
    if fold >= (folds or 1):
        allowed = f"must be less than data.folds={folds}" if folds else "must be 0 without folds"
        raise SettingError("fold", fold, allowed)
