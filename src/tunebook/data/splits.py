"""Divide images into a training, a validation and a test split.

A split depends on the images' order, their labels, their groups and a seed, and on nothing else.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tunebook.config.validation import SettingError
from tunebook.data.download import DataError
from tunebook.data.listing import SPLITS, Listing

Labels = npt.NDArray[np.int64]
Splits = npt.NDArray[np.str_]
SHOWN = 3  # class names in a message


def splits_of(listing: Listing, fractions: Mapping[str, float], seed: int) -> Splits:
    """Return the split of each image: "train", "val" or "test".

    A split that the listing does not state is taken from the training images.
    fractions: of the training images, for "val" and "test". Raises SettingError, with the key of
    the fraction, if a split can't be taken, and DataError if a split lacks a class.
    """
    splits = np.array(listing.splits or ["train"] * len(listing.paths), dtype="<U5")
    # The test images are taken first, so that they do not depend on the validation's fraction.
    for name in ("test", "val"):
        if not (splits == name).any():
            _take(splits, name, fractions[name], seed, listing)
    _require_all_classes(splits, listing)
    return splits


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
        there = np.bincount(listing.labels[splits == name], minlength=len(listing.class_names))
        if (there == 0).any():
            missing = [listing.class_names[i] for i in np.flatnonzero(there == 0)[:SHOWN]]
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
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split

    if groups is None:
        kept, taken = train_test_split(
            np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed
        )
        return np.sort(kept), np.sort(taken)
    folds = max(2, round(len(labels) / size))
    if folds > len(set(groups)):
        raise ValueError(f"{len(set(groups))} groups can't be split into {folds} parts")
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    kept, taken = min(
        splitter.split(np.empty(len(labels)), labels, np.asarray(groups)),
        key=lambda parts: abs(len(parts[1]) - size),
    )
    return np.sort(kept), np.sort(taken)
