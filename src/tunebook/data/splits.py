"""Divide images into a training, a validation and a test split.

A split depends on the images' order, their labels, their groups and a seed, and on nothing else.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


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
