"""Define the data sets of the package `datasets`: from the Hugging Face Hub, or local folders."""

import logging
from pathlib import Path

import numpy as np

from tunebook.config.paths import ROOT
from tunebook.config.validation import Name, OpenFraction, Seed, validate_args
from tunebook.data import hub_dataset
from tunebook.data.download import DataError
from tunebook.data.encoded import Collection
from tunebook.data.hub_dataset import Names, OpenedSplit
from tunebook.data.hub_images import HubImages, HubRows, inspect_rows
from tunebook.data.image_files import Cache, Corrupt, EncodedSource
from tunebook.data.listing import Listing
from tunebook.text_output import printable

log = logging.getLogger(__name__)


class HuggingFace(EncodedSource):
    """Find the images of a data set of the package `datasets`.

    path: a folder written by `save_to_disk`, a folder of images or of Parquet files, a Parquet
    file, or the name of a data set on the Hugging Face Hub, such as ylecun/mnist. config_name: of a
    configuration of the data set. revision: a commit, branch or tag on the Hub.
    train_split, val_split, test_split, image_column, label_column: names in the data set; None for
    those that are found by their usual names and by their types.
    """

    name = "huggingface"

    @validate_args
    def __init__(
        self,
        path: Name,
        config_name: Name | None,
        revision: Name | None,
        train_split: Name | None,
        val_split: Name | None,
        test_split: Name | None,
        image_column: Name | None,
        label_column: Name | None,
        val_fraction: OpenFraction,
        test_fraction: OpenFraction,
        split_seed: Seed,
        corrupt: Corrupt,
        cache: Cache,
        cache_root: Name,
    ) -> None:
        super().__init__(val_fraction, test_fraction, split_seed, corrupt, cache, cache_root)
        self.path, self.config_name, self.revision = path, config_name, revision
        splits = {"train": train_split, "val": val_split, "test": test_split}
        self.names = Names(splits, image_column, label_column)

    def collect(self, root: Path) -> Collection:
        """Return the images of the data set; `root` is not used.

        Raises DataError if it can't be opened, or its splits or columns can't be found.
        """
        local = ROOT / self.path
        path = local if local.exists() else self.path
        where = printable(self.path)
        opened = hub_dataset.open_dataset(path, self.config_name, self.revision)
        splits = hub_dataset.labeled_splits(where, opened, self.names)
        folders = [local if local.is_dir() else local.parent] if local.exists() else []
        rows = HubRows(
            {part.name: part.images for part in splits.values()},
            next(iter(splits.values())).image_column,
            [*folders, *hub_dataset.cache_folders()],
        )
        inspection = inspect_rows(rows, self.cache_root)
        return Collection(
            _listing(where, local, splits, rows),
            inspection,
            HubImages(where, rows, inspection.digests),
        )


def _listing(where: str, folder: Path, splits: dict[str, OpenedSplit], rows: HubRows) -> Listing:
    labels = [label for part in splits.values() for label in part.labels]
    class_names = splits["train"].class_names(set(labels))
    if len(class_names) < 2:
        raise DataError(f"{where}: has only one class, {''.join(class_names)}; two are needed")
    numbers = {name: number for number, name in enumerate(class_names)}
    return Listing(
        folder=folder,
        paths=tuple(rows.path(index) for index in range(len(rows))),
        labels=np.array([numbers[label] for label in labels], np.int64),
        class_names=class_names,
        splits=None
        if set(splits) == {"train"}
        else tuple(split for split, part in splits.items() for _ in part.labels),
    )
