"""List the images of a folder or of a table, with their classes, splits and groups.

Neither names nor tables are trusted. No image is opened. This module does not import torch.
"""

import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tunebook.config.validation import format_value, suggest
from tunebook.data.class_folders import ClassFolders
from tunebook.data.download import DataError
from tunebook.data.table import read_table
from tunebook.text_output import counted, printable

SPLITS = ("train", "val", "test")
# How a folder or a row may name its split, in any case.
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
LAYOUT = "expected: <class>/<image>, or train/<class>/<image> and the same in val/ and test/"
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


def list_folder(root: Path) -> Listing:
    """Return the images in `root/<class>/*`, or in `root/{train,val,test}/<class>/*`.

    The folders of a class may have subfolders. Symbolic links are followed. Hidden files and files
    without an image's suffix are left out, and one line of the log counts them. The images are in
    the order of their file names, numbers in them as numbers, then of their paths.
    Raises DataError for a folder that can't be used.
    """
    where = printable(str(root))
    folders = ClassFolders(root)
    tops, stray = folders.top()
    if not tops:
        problem = "its images are in no class folders" if stray else "contains no images"
        raise DataError(f"{where}: {problem}; {LAYOUT}")
    split_folders = _split_folders(where, tops)
    found: list[tuple[str, str, str]] = []  # path, class, split
    names: set[str] = set()
    for split, folder in split_folders.items() or [("", "")]:
        classes = folders.classes(folder) if folder else tops
        names.update(classes)
        for name in classes:
            inside = posixpath.join(folder, name)
            found += [(path, name, split) for path in folders.images(inside)]
    folders.log_left_out()
    found.sort(key=lambda item: (natural_key(posixpath.basename(item[0])), natural_key(item[0])))
    return _listing(
        where,
        root,
        [path for path, _, _ in found],
        [name for _, name, _ in found],
        class_order(names),
        [split for _, _, split in found] if split_folders else None,
        None,
        tuple(split_folders),
    )


def list_table(table: Path) -> Listing:
    """Return the images that a CSV or Parquet file names, in the order of its rows.

    Its columns are path, label, and optionally split and group; others are ignored. Paths are
    relative to the table's folder and may not lead out of it; symbolic links in it are followed.
    Raises DataError for a table that can't be used.
    """
    where = printable(str(table))
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
    present = tuple(split for split in SPLITS if splits and split in set(splits))
    return _listing(
        where, table.parent, paths, labels, class_order(set(labels)), splits, groups, present
    )


def natural_key(text: str) -> tuple[tuple[object, ...], str]:
    """Return a key that sorts texts with the numbers in them as numbers: 2.png before 10.png."""
    parts: list[object] = list(re.split("([0-9]+)", text))
    for position in range(1, len(parts), 2):
        digits = str(parts[position]).lstrip("0")
        parts[position] = (len(digits), digits)  # int() refuses thousands of digits
    return tuple(parts), text


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


def _listing(
    where: str,
    folder: Path,
    paths: Sequence[str],
    labels: Sequence[str],
    class_names: tuple[str, ...],
    splits: Sequence[str] | None,
    groups: Sequence[str] | None,
    present: Sequence[str],
) -> Listing:
    """Return a listing after a check that there are two classes, each with images in each split.

    present: the splits that there are; none if the images are to be split.
    """
    if len(class_names) < 2:
        raise DataError(f"{where}: has only one class, {_some(class_names)}; two are needed")
    numbers = {name: number for number, name in enumerate(class_names)}
    positions = np.array([numbers[label] for label in labels], np.int64)
    of_split = np.array(splits) if splits is not None else np.full(len(paths), "")
    for split in present or ("",):
        counts = np.bincount(positions[of_split == split], minlength=len(class_names))
        if empty := [class_names[number] for number in np.flatnonzero(counts == 0)]:
            kind = "class" if len(empty) == 1 else "classes"
            place = f" in {split}" if split else ""
            raise DataError(f"{where}: no images{place} of the {kind} {_some(empty)}")
    return Listing(
        folder,
        tuple(paths),
        positions,
        class_names,
        tuple(splits) if splits is not None else None,
        tuple(groups) if groups is not None else None,
    )


def _some(names: Iterable[str]) -> str:
    """Return the first few names for a message, and the number of the others."""
    names = list(names)
    text = ", ".join(repr(format_value(name)) for name in names[:SHOWN])
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
        raise _row_error(where, position, f"path {format_value(path)!r} {problem}")
    return list(found)


def _optional(where: str, column: str, columns: dict[str, list[str]]) -> list[str] | None:
    """Return a column's values; None if all are empty. Raise DataError if only some are."""
    values = [value.strip() for value in columns.get(column, [])]
    if not any(values):
        return None
    _require_values(where, column, values)
    return values


def _splits(where: str, values: Sequence[str]) -> list[str]:
    splits = []
    for position, value in enumerate(values):
        split = SPLIT_NAMES.get(value.casefold())
        if split is None:
            problem = f"split {format_value(value)!r} is unknown; allowed: {', '.join(SPLITS)}."
            raise _row_error(where, position, problem + suggest(value, SPLIT_NAMES))
        splits.append(split)
    if "train" not in splits:
        raise DataError(f"{where}: no row has the split train")
    return splits


def _require_groups_in_one_split(where: str, groups: Sequence[str], splits: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for position, group in enumerate(groups):
        other = splits[first.setdefault(group, position)]
        if other != splits[position]:
            raise _row_error(
                where,
                position,
                f"group {format_value(group)!r} is in {splits[position]}, "
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
