"""Define the data sets whose images are files of the user: a folder, or the rows of a table.

Their classes, sizes and splits are found by looking at the files.
"""

import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from tunebook.config.paths import ROOT
from tunebook.config.validation import (
    Name,
    NonNegativeInt,
    OpenFraction,
    Seed,
    validate_args,
)
from tunebook.data.audit import audit
from tunebook.data.audit_findings import findings
from tunebook.data.cache import cached
from tunebook.data.contents import MAX_NAME, Contents
from tunebook.data.download import DataError
from tunebook.data.encoded import Collection, DecodedImages, ImageFiles, StoredImages
from tunebook.data.inspection import Inspection, inspect_files
from tunebook.data.listing import Listing, list_folder, list_table
from tunebook.data.preprocessing import Preprocessing
from tunebook.data.remembered import remembered
from tunebook.data.sources import Description, ImageSets, Source
from tunebook.data.splits import Division, Folds, check_fold, splits_of
from tunebook.data.thumbnails import contact_sheets
from tunebook.text_output import printable

log = logging.getLogger(__name__)

Corrupt = Literal["error", "skip"]
Cache = Literal["auto", "disk", "none"]
LARGEST_SIDE = 64  # of images whose sizes differ, if no size is chosen
LARGEST_COMMON_SIDE = 256  # of images that all have one size
SHOWN = 3  # problems in one line
SHEETS, IMAGES_A_SHEET = 12, 16  # of which a run's record has pictures


@dataclass(frozen=True)
class Divided:
    """Hold a collection of images that can be read, and the split of each.

    splits: "train", "val" or "test".
    """

    collection: Collection
    splits: npt.NDArray[np.str_]

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Return the positions of the images in a split, in their order."""
        return np.flatnonzero(self.splits == split)


class EncodedSource(Source):
    """Find out what a collection of encoded images holds, and divide it into splits.

    Splits that the collection states are used. A split that it does not state is taken from the
    training images, stratified, and with images of one group together.
    val_fraction, test_fraction: of the training images. split_seed: determines these splits.
    folds, fold: with folds, part `fold` of a cross-validation of the training and the validation
    images takes the place of the validation split.
    corrupt: what to do about images that can't be read: report an error, or skip them.
    cache: where decoded images are kept: in a file ("disk"), nowhere ("none"), or in a file if the
    disk has room ("auto"). cache_root: the folder of these files.
    """

    @validate_args
    def __init__(
        self,
        val_fraction: OpenFraction,
        test_fraction: OpenFraction,
        split_seed: Seed,
        folds: Folds | None,
        fold: NonNegativeInt,
        corrupt: Corrupt,
        cache: Cache,
        cache_root: Name,
    ) -> None:
        check_fold(folds, fold)
        self.division = Division(val_fraction, test_fraction, split_seed, folds, fold)
        self.corrupt, self.cache, self.cache_root = corrupt, cache, ROOT / cache_root

    @abstractmethod
    def collect(self, root: Path) -> Collection:
        """Return the images that there are, and what is known about each."""

    def find(self, root: Path) -> Contents:
        """Return what the images are; raise DataError if they can't be used."""
        divided = self.divided(root)
        listing, inspection = divided.collection.listing, divided.collection.inspection
        sizes = {name: len(divided.rows(name)) for name in ("train", "val", "test")}
        return Contents(
            self.name_of(root),
            image_shape=_common_shape(inspection),
            class_names=listing.class_names,
            train_size=sizes["train"],
            val_size=sizes["val"],
            test_size=sizes["test"],
        )

    def name_of(self, root: Path) -> str:
        """Return the name of the data set: that of its folder."""
        return printable(root.resolve().name)[:MAX_NAME]

    def divided(self, root: Path) -> Divided:
        """Return the images and the split of each."""
        key = (type(self), root, repr(sorted(vars(self).items())))
        return remembered(key, lambda: self._divide(root))

    def _divide(self, root: Path) -> Divided:
        collection = self.collect(root)
        self._handle(collection.inspection.problems, collection)
        collection = collection.usable()
        return Divided(collection, splits_of(collection.listing, self.division))

    def _handle(self, problems: Mapping[int, str], collection: Collection) -> None:
        """Raise DataError for images that can't be read, or log that they are left out."""
        if not problems:
            return
        lines = [f"{collection.images.name(i)} ({problems[i]})" for i in list(problems)[:SHOWN]]
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        text = f"{len(problems)} of {len(collection.images)} images can't be used: "
        text += "; ".join(lines) + more
        if self.corrupt == "error":
            raise DataError(f"{text}; data.corrupt=skip leaves them out")
        log.warning("%s; they are left out", text)

    def describe(self, root: Path) -> Description:
        """Return each image's class, split and digest, problems, and pictures of some classes."""
        divided = self.divided(root)
        listing, inspection = divided.collection.listing, divided.collection.inspection
        columns = {
            "path": listing.paths,
            "label": [listing.class_names[label] for label in listing.labels],
            "split": divided.splits,
            **({} if listing.groups is None else {"group": listing.groups}),
            "digest": inspection.digests,
        }
        read, classes = divided.collection.images.read, range(min(SHEETS, len(listing.class_names)))
        sheets = contact_sheets(listing, inspection, read, classes, IMAGES_A_SHEET)
        return Description(
            pd.DataFrame(columns).to_csv(index=False),
            divided.collection.digest(),
            findings(audit(listing, inspection, divided.splits)),
            ((listing.class_names[label], sheet) for label, sheet in sheets),
        )

    def test_names(self, root: Path) -> list[str] | None:
        """Return the path of each test image."""
        divided = self.divided(root)
        return [divided.collection.listing.paths[row] for row in divided.rows("test")]

    def load(self, root: Path) -> ImageSets:
        """Return the images of each split in the size that `find` states."""
        return self.open(root, Preprocessing(self.find(root).image_shape))

    def open(self, root: Path, preprocessing: Preprocessing) -> ImageSets:
        """Return the images of each split, from the cache or decoded when they are needed."""
        divided = self.divided(root)
        stored = self._stored(divided.collection, preprocessing)
        labels = torch.from_numpy(divided.collection.listing.labels)
        train, test, val = (
            torch.from_numpy(divided.rows(name)) for name in ("train", "test", "val")
        )
        return ImageSets(
            stored.select(train), labels[train],
            stored.select(test), labels[test],
            stored.select(val), labels[val],
        )  # fmt: skip

    def _stored(self, collection: Collection, preprocessing: Preprocessing) -> StoredImages:
        if self.cache != "none":
            try:
                found = cached(collection, preprocessing, self.cache_root)
                if found is not None:
                    return found
                reason = "the disk has too little space"
            except OSError as error:
                reason = str(error.strerror or error)
            if self.cache == "disk":
                raise DataError(f"{self.cache_root}: can't keep the decoded images ({reason})")
            log.warning("the decoded images are not kept (%s): %s", self.cache_root, reason)
        rows = torch.arange(len(collection.images))
        return DecodedImages(collection.images, rows, collection.inspection.digests, preprocessing)


class ImageFolder(EncodedSource):
    """Find the images in `root/<class>/*`, or in `root/{train,val,test}/<class>/*`."""

    name = "image_folder"

    def collect(self, root: Path) -> Collection:
        """Return the images in a folder; raise DataError if it can't be used."""
        return _inspected(list_folder(root), self.cache_root)


class ImageTable(EncodedSource):
    """Find the images that a CSV or Parquet file names.

    Its columns are path, label, and optionally split and group.
    """

    name = "image_table"

    @validate_args
    def __init__(
        self,
        table: Name | None,
        val_fraction: OpenFraction,
        test_fraction: OpenFraction,
        split_seed: Seed,
        folds: Folds | None,
        fold: NonNegativeInt,
        corrupt: Corrupt,
        cache: Cache,
        cache_root: Name,
    ) -> None:
        super().__init__(
            val_fraction, test_fraction, split_seed, folds, fold, corrupt, cache, cache_root
        )
        self.table = ROOT / (table or "")

    def name_of(self, root: Path) -> str:
        """Return the name of the table."""
        return printable(self.table.name)[:MAX_NAME]

    def collect(self, root: Path) -> Collection:
        """Return the images in the table; `root` is not used."""
        return _inspected(list_table(self.table), self.cache_root)


def _inspected(listing: Listing, cache: Path) -> Collection:
    inspection = inspect_files(listing, cache)
    return Collection(
        listing, inspection, ImageFiles(listing.folder, listing.paths, inspection.digests)
    )


def _common_shape(inspection: Inspection) -> tuple[int, int, int]:
    """Return (C, H, W) for images of these sizes.

    It is the size that all of them have, if it is not too large. Otherwise it is a square whose
    side is the median of the shorter sides, at most LARGEST_SIDE.
    """
    heights, widths = inspection.heights, inspection.widths
    channels = int(inspection.channels.max())
    largest = int(max(heights.max(), widths.max()))
    is_common = heights.min() == heights.max() and widths.min() == widths.max()
    if is_common and largest <= LARGEST_COMMON_SIDE:
        return channels, int(heights[0]), int(widths[0])
    side = min(LARGEST_SIDE, int(np.median(np.minimum(heights, widths))))
    return channels, side, side
