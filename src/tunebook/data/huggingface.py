"""Define the data sets of the package `datasets`: from the Hugging Face Hub, or local folders."""

import logging
from pathlib import Path

import numpy as np

from tunebook.config.paths import ROOT
from tunebook.config.validation import Name, NonNegativeInt, OpenFraction, Seed, validate_args
from tunebook.data import hub_dataset
from tunebook.data.download import DataError
from tunebook.data.encoded import Collection
from tunebook.data.hub_dataset import Names, OpenedSplit
from tunebook.data.hub_images import HubImages, HubRows, inspect_rows
from tunebook.data.image_files import Cache, Corrupt, EncodedSource
from tunebook.data.listing import Listing
from tunebook.data.splits import Folds
from tunebook.text_output import printable

log = logging.getLogger(__name__)


class HuggingFace(EncodedSource):
    """Find the images of a data set of the package `datasets`.

    path: its name on the Hugging Face Hub, such as ylecun/mnist. If it is None, the data set is in
    the folder `root`, which `save_to_disk` has written, or which holds images or Parquet files; or
    it is the Parquet file `root`. config_name: of a configuration of the data set. revision: a
    commit, branch or tag on the Hub.
    train_split, val_split, test_split, image_column, label_column: names in the data set; None for
    those that are found by their usual names and by their types.
    """

    name = "huggingface"

    @validate_args
    def __init__(
        self,
        path: Name | None,
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
        folds: Folds | None,
        fold: NonNegativeInt,
        corrupt: Corrupt,
        cache: Cache,
        cache_root: Name,
    ) -> None:
        super().__init__(
            val_fraction, test_fraction, split_seed, folds, fold, corrupt, cache, cache_root
        )
        self.path, self.config_name, self.revision = path, config_name, revision
        splits = {"train": train_split, "val": val_split, "test": test_split}
        self.names = Names(splits, image_column, label_column)

    def collect(self, root: Path) -> Collection:
        """Return the images of the data set.

        Raises DataError if it can't be opened, or its splits or columns can't be found.
        """
        opened = hub_dataset.open_dataset(self._place(root), self.config_name, self.revision)
        where = printable(self.path or str(root))
        splits = hub_dataset.labeled_splits(where, opened, self.names)
        folders = hub_dataset.cache_folders()
        if self.path is None:
            folders.append(root if root.is_dir() else root.parent)
        rows = HubRows(
            {part.name: part.images for part in splits.values()}, hub_dataset.IMAGE, folders
        )
        inspection = inspect_rows(rows, self.cache_root)
        return Collection(
            _listing(where, root, splits, rows),
            inspection,
            HubImages(where, rows, inspection.digests),
        )

    def _place(self, root: Path) -> Path | str:
        """Return the name on the Hub or the local path; raise DataError if it is neither."""
        if self.path is None:
            if not root.exists():
                raise DataError(
                    f"data.root={printable(str(root))}: there is no such folder or file; a data "
                    "set on the Hugging Face Hub is chosen by data.source.path"
                )
            return root
        if (ROOT / self.path).exists():
            raise DataError(
                f"data.source.path={printable(self.path)}: is on this machine, and not a name on "
                f"the Hugging Face Hub; write data.root={printable(self.path)}"
            )
        return self.path


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
