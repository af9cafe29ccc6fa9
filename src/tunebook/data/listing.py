"""List the images of a folder or of a table, with their classes, splits and groups.

Neither names nor tables are trusted. No image is opened. This module does not import torch.
"""

import functools
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tunebook.config.validation import format_value, suggest
from tunebook.data.class_folders import ClassFolders
from tunebook.data.download import DataError
from tunebook.data.table import Columns, read_table
from tunebook.text_output import counted, printable

SPLITS = ("train", "val", "test")
# How a folder or a row may name its split, in any case.
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
LAYOUT = "expected: <class>/<image>, or train/<class>/<image> and the same in val/ and test/"
NUMBER = re.compile("[0-9]+")
INTEGER = re.compile("-?[0-9]{1,18}")
SHOWN = 3  # names in a message


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

    def part(self, kept: Sequence[int]) -> "Listing":
        """Return the images at some positions."""
        return replace(
            self,
            paths=tuple(self.paths[index] for index in kept),
            labels=self.labels[kept],
            splits=None if self.splits is None else tuple(self.splits[index] for index in kept),
            groups=None if self.groups is None else tuple(self.groups[index] for index in kept),
        )


def list_folder(root: Path) -> Listing:
    """Return the images in `root/<class>/*`, or in `root/{train,val,test}/<class>/*`.

    The folders of a class may have subfolders. Symbolic links are followed. Hidden files and files
    without an image's suffix are left out, and one line of the log counts them. The images are in
    the order of their file names, numbers in them as numbers, then of their paths.
    Raises DataError for a folder that can't be used.
    """
    where = f"data.root={printable(str(root))}"
    folders = ClassFolders(root)
    tops = folders.classes("")
    split_folders = _split_folders(where, tops)
    found: list[tuple[str, str, str]] = []  # path, class, split
    names: set[str] = set()
    for split, folder in split_folders.items() or [("", "")]:
        classes = folders.classes(folder) if folder else tops
        names.update(classes)
        for name in classes:
            inside = posixpath.join(folder, name)
            found += [(path, name, split) for path in folders.images(inside)]
    if not names:
        problem = "its images are in no class folders" if folders.stray else "has no images"
        raise DataError(f"{where}: {problem}; {LAYOUT}")
    folders.log_left_out()
    found.sort(key=lambda item: _in_natural_order(item[0]))
    class_names = class_order(names)
    listing = Listing(
        root,
        tuple(path for path, _, _ in found),
        _positions([name for _, name, _ in found], class_names),
        class_names,
        tuple(split for _, _, split in found) if split_folders else None,
    )
    return _checked(where, listing, tuple(split_folders))


def list_table(table: Path) -> Listing:
    """Return the images that a CSV or Parquet file names, in the order of its rows.

    Its columns are path, label, and optionally split and group; others are ignored. Paths are
    relative to the table's folder and may not lead out of it; symbolic links in it are followed.
    Raises DataError for a table that can't be used.
    """
    where = f"data.table={printable(str(table))}"
    columns = read_table(table)
    paths = _paths(where, columns["path"])
    labels = [label.strip() for label in columns["label"]]
    _require_values(where, "label", labels)
    splits = _optional(where, "split", columns)
    if splits is not None:
        splits = _splits(where, splits)
    groups = _optional(where, "group", columns)
    if splits and groups:
        _require_groups_in_one_split(where, groups, splits)
    _require_files(where, table.parent, paths)
    class_names = class_order(set(labels))
    listing = Listing(
        table.parent, tuple(paths), _positions(labels, class_names), class_names, splits, groups
    )
    return _checked(where, listing, [name for name in SPLITS if splits and name in splits])


def natural_key(text: str) -> tuple[str, str]:
    """Return a key that sorts texts with the numbers in them as numbers: 2.png before 10.png."""
    return NUMBER.sub(_sortable, text), text


def _sortable(number: re.Match[str]) -> str:
    """Return digits behind their count: more digits are a larger number, whatever its length."""
    digits = number[0].lstrip("0")
    return f"\0{chr(min(len(digits), sys.maxunicode))}{digits}"


def _in_natural_order(path: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return a key that sorts paths by the names of the files, then by the folders."""
    folder, name = posixpath.split(path)
    return natural_key(name), _folder_key(folder)


# A data set has far fewer folders than files.
_folder_key = functools.lru_cache(10_000)(natural_key)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in the order of their labels: by value if all are integers, or natural."""
    names = list(names)
    if all(INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names, key=natural_key))


def _split_folders(where: str, tops: Sequence[str]) -> dict[str, str]:
    """Return the folder of each split, or nothing if the folders are those of classes."""
    found: dict[str, str] = {}
    for name in tops:
        split = SPLIT_NAMES.get(name.casefold())
        if split in found:
            raise DataError(f"{where}: both {found[split]}/ and {printable(name)}/ name a split")
        if split is not None:
            found[split] = name
    if not found:
        return {}
    others = [name for name in tops if name not in found.values()]
    if others:
        raise DataError(
            f"{where}: holds folders of splits ({_some(found.values())}) and others "
            f"({_some(others)}); if all of them are classes, move them into a folder train/"
        )
    if "train" not in found:
        raise DataError(f"{where}: has no folder train/ beside {_some(found.values())}")
    return {split: found[split] for split in SPLITS if split in found}


def _positions(labels: Sequence[str], class_names: Sequence[str]) -> npt.NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(class_names)}
    return np.array([numbers[label] for label in labels], np.int64)


def _checked(where: str, listing: Listing, splits: Sequence[str]) -> Listing:
    """Return the listing if it has two classes, each with images in each split; else raise.

    splits: those that there are; none if the images are to be split.
    """
    names = listing.class_names
    if len(names) < 2:
        raise DataError(f"{where}: has only one class, {_some(names)}; two are needed")
    of_split = np.array(listing.splits or ("",) * len(listing.paths))
    for split in splits or ("",):
        counts = np.bincount(listing.labels[of_split == split], minlength=len(names))
        if empty := [names[number] for number in np.flatnonzero(counts == 0)]:
            kind = "class" if len(empty) == 1 else "classes"
            place = f" in {split}" if split else ""
            raise DataError(f"{where}: no images{place} of the {kind} {_some(empty)}")
    return listing


def _shown(name: str) -> str:
    return f"'{format_value(name)}'"


def _some(names: Iterable[str]) -> str:
    """Return the first few names for a message, and the number of the others."""
    names = list(names)
    text = ", ".join(_shown(name) for name in names[:SHOWN])
    return text + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _row_error(where: str, position: int, problem: str) -> DataError:
    return DataError(f"{where}, row {position + 1}: {problem}")


def _require_values(where: str, column: str, values: Sequence[str]) -> None:
    for position, value in enumerate(values):
        if not value:
            raise _row_error(where, position, f"{column} is empty")


def _paths(where: str, paths: Sequence[str]) -> list[str]:
    """Return the paths in their shortest form; raise DataError for one that can't be used."""
    _require_values(where, "path", paths)
    found: dict[str, int] = {}
    for position, path in enumerate(paths):
        short = posixpath.normpath(path)
        if posixpath.isabs(path) or os.path.isabs(path):
            problem = "is absolute; give it relative to the table's folder"
        elif short == ".." or short.startswith("../"):
            problem = "leads out of the table's folder"
        elif "\0" in path:
            problem = "contains a null character"
        elif short in found:
            problem = f"is also in row {found[short] + 1}"
        else:
            found[short] = position
            continue
        raise _row_error(where, position, f"path {_shown(path)} {problem}")
    return list(found)


def _optional(where: str, column: str, columns: Columns) -> tuple[str, ...] | None:
    """Return a column's values; None if all are empty. Raise DataError if only some are."""
    values = tuple(value.strip() for value in columns.get(column, []))
    if not any(values):
        return None
    _require_values(where, column, values)
    return values


def _splits(where: str, values: Sequence[str]) -> tuple[str, ...]:
    splits = []
    for position, value in enumerate(values):
        split = SPLIT_NAMES.get(value.casefold())
        if split is None:
            problem = f"split {_shown(value)} is unknown; allowed: {', '.join(SPLITS)}."
            raise _row_error(where, position, problem + suggest(value, SPLIT_NAMES))
        splits.append(split)
    if "train" not in splits:
        raise DataError(f"{where}: no row has the split train")
    return tuple(splits)


def _require_groups_in_one_split(where: str, groups: Sequence[str], splits: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for position, group in enumerate(groups):
        other = splits[first.setdefault(group, position)]
        if other != splits[position]:
            raise _row_error(
                where,
                position,
                f"group {_shown(group)} is in {splits[position]}, "
                f"but in {other} in row {first[group] + 1}; a group stays in one split",
            )


def _require_files(where: str, folder: Path, paths: Sequence[str]) -> None:
    """Raise DataError if files are missing. Others that can't be read are found when inspected."""
    missing = []
    for path in paths:
        try:
            os.stat(os.path.join(folder, path))
        except PermissionError:
            continue
        except OSError:
            missing.append(path)
    if missing:
        text = f"{counted(len(missing), 'file')} of {len(paths)}"
        raise DataError(f"{where}: {text} can't be found in the table's folder: {_some(missing)}")
