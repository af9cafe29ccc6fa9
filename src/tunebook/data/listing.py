"""List the images of a folder or of a table, with their classes, splits and groups.

Neither names nor tables are trusted. No image is opened. This module does not import torch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listing:
    """List the images of a data set, in the order in which they are numbered.

    folder: what the paths are relative to. paths: with "/" between their parts.
    labels: int64 (N,), positions in `class_names`. splits: one of SPLITS for each image, or None if
    the images are to be split. groups: images of one group stay in one split; None: no groups.
    """

    folder: Path
    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    splits: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None


def list_folder(root: Path) -> Listing:
    """Return the images in `root/<class>/*`, or in `root/{train,val,test}/<class>/*`.

    They are in the order of their file names, numbers in them as numbers, then of their paths.
    Raises DataError for a folder that can't be used.
    """
    raise NotImplementedError


def list_table(table: Path) -> Listing:
    """Return the images that a CSV or Parquet file names, in the order of its rows.

    Its columns are path, label, and optionally split and group. Paths are relative to the table's
    folder and may not leave it. Raises DataError for a table that can't be used.
    """
    raise NotImplementedError
