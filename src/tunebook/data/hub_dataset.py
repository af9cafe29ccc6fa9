"""Open a data set of the package `datasets`, and find its splits, columns and labels.

It is on the Hugging Face Hub, or in a folder of this machine. Nothing in it is run, and its images
are taken as the bytes of the files, which the package does not decode.
"""

import importlib
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.config.validation import one_line, suggest
from tunebook.data.download import DataError
from tunebook.data.listing import class_order
from tunebook.text_output import printable

log = logging.getLogger(__name__)

# How data sets name their splits, in the order in which they are looked for.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
UNLABELED = (None, -1)
LABEL_TYPES = ("int", "uint", "string", "large_string")  # the beginnings of their names
SHOWN = 20  # names in a message
IMAGE = "image"  # the column of images, once they have been chosen
ON_HUB = "hf://datasets/"
SAVED = ("dataset_dict.json", "state.json")  # what a folder written by save_to_disk contains


@dataclass(frozen=True)
class Names:
    """Name the splits and columns to use; None for those that are to be found.

    splits: by train, val and test.
    """

    splits: Mapping[str, str | None]
    image: str | None
    label: str | None


def open_dataset(
    place: Path | str, config_name: str | None, revision: str | None
) -> dict[str, Any]:
    """Return the splits of a data set by their names.

    place: a folder or a Parquet file, or the name of a data set on the Hub. Raises DataError if it
    can't be opened.
    """
    package = _package()
    where = f"data.source.path={place}" if isinstance(place, str) else f"data.root={place}"
    try:
        if isinstance(place, str):
            log.info("looking for %s on the Hugging Face Hub ...", printable(place))
            # With this prefix, a folder of the same name is not taken instead.
            found = package.load_dataset(f"{ON_HUB}{place}", config_name, revision=revision)
        elif place.is_file():
            found = package.load_dataset("parquet", data_files={"train": str(place)})
        elif any((place / name).is_file() for name in SAVED):
            found = package.load_from_disk(str(place))
        else:
            found = package.load_dataset(str(place), config_name)
    except package.exceptions.DatasetNotFoundError:
        raise DataError(
            f"{where}: there is no such data set on the Hugging Face Hub, or it needs a login "
            "(hf auth login)"
        ) from None
    except ConnectionError as error:
        raise DataError(
            f"{where}: the Hugging Face Hub can't be reached, and no copy of the data set is on "
            f"this machine ({one_line(str(error))})"
        ) from None
    except Exception as error:  # the package raises anything on files that it can't read
        raise DataError(f"{where}: can't be opened: {one_line(str(error))[:500]}") from None
    return dict(found) if isinstance(found, dict) else {"train": found}


def _package() -> Any:
    """Import `datasets`, and keep its messages and progress bars out of what is not a terminal."""
    try:
        package = importlib.import_module("datasets")
    except ImportError:
        raise DataError(
            "data=huggingface: needs the package datasets, which is an extra: "
            "pip install '.[datasets]'"
        ) from None
    # What is wrong is said once, by the error that follows.
    package.logging.set_verbosity(logging.CRITICAL)
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    if not sys.stderr.isatty():
        package.disable_progress_bars()
    return package


def cache_folders() -> list[Path]:
    """Return the folders in which the package keeps what it has downloaded."""
    config = _package().config
    return [Path(config.HF_CACHE_HOME), Path(config.HF_DATASETS_CACHE)]


def chosen_splits(where: str, splits: Mapping[str, Any], names: Names) -> dict[str, str]:
    """Return the names in the data set of the splits train, val and test, as far as there are.

    Raises DataError if there is no training split, or not one that the settings name.
    """
    found: dict[str, str] = {}
    for split, name in names.splits.items():
        if name is not None and name not in splits:
            raise DataError(
                f"data.source.{split}_split={name}: is no split of {where}; "
                f"allowed: {_some(splits)}.{suggest(name, splits)}"
            )
        candidates = (name,) if name is not None else SPLIT_NAMES[split]
        if present := [each for each in candidates if each in splits]:
            found[split] = present[0]
    if "train" not in found:
        raise DataError(
            f"{where}: has no split train; choose one by data.source.train_split, "
            f"allowed: {_some(splits)}"
        )
    if len(set(found.values())) < len(found):
        raise DataError(f"{where}: a split is used twice: {_some(found.values())}")
    return found


def image_column(where: str, dataset: Any, name: str | None) -> str:
    """Return the name of the column of images; raise DataError unless there is one."""
    package = _package()
    if name is not None:
        return _require_column(where, "image", name, dataset)
    found = [
        column for column, feature in dataset.features.items() if isinstance(feature, package.Image)
    ]
    return _the_one(where, "image", found, dataset)


def label_column(where: str, dataset: Any, name: str | None, image: str) -> str:
    """Return the name of the column of labels; raise DataError unless there is one.

    It has the type of class labels, or otherwise is the only one of integers or texts, or the one
    of these that is called "label".
    """
    package = _package()
    if name is not None:
        feature = dataset.features[_require_column(where, "label", name, dataset)]
        if not isinstance(feature, package.ClassLabel) and not _may_be_labels(feature):
            raise DataError(
                f"data.source.label_column={name}: holds no labels; allowed: class labels, "
                "integers or texts"
            )
        return name
    features = {key: value for key, value in dataset.features.items() if key != image}
    found = [key for key, value in features.items() if isinstance(value, package.ClassLabel)]
    if not found:
        found = [key for key, value in features.items() if _may_be_labels(value)]
        found = ["label"] if "label" in found else found
    return _the_one(where, "label", found, dataset)


def _may_be_labels(feature: Any) -> bool:
    return isinstance(feature, _package().Value) and feature.dtype.startswith(LABEL_TYPES)


def _require_column(where: str, kind: str, name: str, dataset: Any) -> str:
    if name not in dataset.features:
        raise DataError(
            f"data.source.{kind}_column={name}: is no column of {where}; "
            f"allowed: {_some(dataset.features)}.{suggest(name, dataset.features)}"
        )
    return name


def _the_one(where: str, kind: str, found: Sequence[str], dataset: Any) -> str:
    if len(found) == 1:
        return found[0]
    problem = f"several columns may hold the {kind}s" if found else f"no column holds {kind}s"
    columns = _some(found or dataset.features)
    raise DataError(
        f"{where}: {problem}; choose one by data.source.{kind}_column, allowed: {columns}"
    )


def _some(names: Iterable[str]) -> str:
    """Return the first names for a message."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more


def _with_image_bytes(where: str, dataset: Any, column: str) -> Any:
    """Return a data set of the images alone, in the column IMAGE, as {"bytes": ..., "path": ...}.

    Raises DataError if the column does not hold images.
    """
    try:
        images = dataset.select_columns([column]).rename_columns({column: IMAGE})
        return images.cast_column(IMAGE, _package().Image(decode=False))
    except Exception as error:  # pyarrow's, for a type that can't hold images
        raise DataError(
            f"{where}: the column {printable(column)} holds no images: {one_line(str(error))[:200]}"
        ) from None


def labeled_splits(where: str, opened: Mapping[str, Any], names: Names) -> "dict[str, OpenedSplit]":
    """Return the splits train, val and test, as far as there are.

    A split of which no image has a label is left out. Raises DataError for one of which only some
    have, and where a split or a column can't be found.
    """
    found: dict[str, OpenedSplit] = {}
    for split, name in chosen_splits(where, opened, names).items():
        dataset = opened[name]
        image = image_column(where, dataset, names.image)
        column = label_column(where, dataset, names.label, image)
        labels = _labels(where, dataset, column)
        missing = labels.count(None)
        if missing == len(labels) and split != "train":
            log.info(
                "%s: the split %s is not used: its images have no labels", where, printable(name)
            )
            continue
        if missing or not labels:
            problem = f"{missing} images without a label" if labels else "no images"
            raise DataError(f"{where}: the split {printable(name)} has {problem}")
        images = _with_image_bytes(where, dataset, image)
        found[split] = OpenedSplit(
            name, images, [str(label) for label in labels], dataset.features[column]
        )
    return found


@dataclass(frozen=True)
class OpenedSplit:
    """Hold a split of a data set.

    name: in the data set. images: a data set with the column IMAGE of {"bytes": ..., "path": ...}.
    labels: the name of each image's class. label_feature: the type of the labels.
    """

    name: str
    images: Any
    labels: list[str]
    label_feature: Any

    def class_names(self, used: set[str]) -> tuple[str, ...]:
        """Return the names of the classes in the order of their labels.

        It is the order that the data set states, if it states one. used: the classes that have
        images in any split; others are left out.
        """
        stated = getattr(self.label_feature, "names", None)
        if stated is None:
            return class_order(used)
        if left_out := [name for name in stated if name not in used]:
            log.info("classes without images are left out: %s", _some(left_out))
        kept = [name for name in stated if name in used]
        return (*kept, *class_order(used - set(kept)))


def _labels(where: str, dataset: Any, column: str) -> list[str | None]:
    """Return the name of each image's class, or None for an image without a label.

    Raises DataError for a label that has no name.
    """
    values = dataset.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    names = getattr(dataset.features[column], "names", None)
    if names is None:
        return [None if value in UNLABELED else str(value) for value in values]
    if wrong := {value for value in values if value not in UNLABELED} - set(range(len(names))):
        raise DataError(
            f"{where}: the column {printable(column)} has the label {min(wrong)}, "
            f"which is none of its {len(names)} classes"
        )
    return [None if value in UNLABELED else names[value] for value in values]
