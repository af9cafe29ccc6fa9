"""Read the images of a data set of the package `datasets`, and find out what they are.

What was found is kept with that of image files, so that only new images are decoded again.
"""

import contextlib
import hashlib
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tunebook.config.validation import InputError
from tunebook.data.decoding import examine, read_with_status
from tunebook.data.encoded import EncodedImages
from tunebook.data.inspection import NO_STATUS, SETTLED_NS, Inspection, digest_of
from tunebook.data.inspection_cache import InspectionCache, Row, Status
from tunebook.machine import processors
from tunebook.text_output import printable

CHUNK = 256  # rows that are read at once


class HubRows:
    """Read the rows of several splits, numbered one after another.

    splits: data sets with one column, whose values are {"bytes": ..., "path": ...}, by the names of
    the splits. folders: an image that is stored as a path must be in one of these.
    """

    def __init__(self, splits: Mapping[str, Any], column: str, folders: Sequence[Path]) -> None:
        self.names, self.splits, self.column = list(splits), list(splits.values()), column
        self.folders = [f"{os.path.abspath(folder)}{os.sep}" for folder in folders]
        self.starts = np.cumsum([0, *(len(split) for split in self.splits)])

    def __len__(self) -> int:
        """Return the number of rows in all splits."""
        return int(self.starts[-1])

    def place(self, index: int) -> tuple[int, int]:
        """Return the position of a row's split, and its row in that."""
        split = int(np.searchsorted(self.starts, index, side="right")) - 1
        return split, index - int(self.starts[split])

    def path(self, index: int) -> str:
        """Return a row's split and number, as a path."""
        split, row = self.place(index)
        return f"{self.names[split]}/{row}"

    def data(self, index: int) -> tuple[bytes, Status]:
        """Return the bytes of an image, and the status of its file, if it is in one.

        Raises InputError, whose text is only the reason, if it can't be read.
        """
        split, row = self.place(index)
        return self.data_of(self.splits[split][row][self.column])

    def data_of(self, stored: Any) -> tuple[bytes, Status]:
        """Return the bytes of an image from the value of its row; see `data`."""
        if not stored or (stored["bytes"] is None and stored["path"] is None):
            raise InputError("holds no image")
        if stored["bytes"] is not None:
            return stored["bytes"], NO_STATUS
        path = os.path.abspath(stored["path"])
        if not path.startswith(tuple(self.folders)):
            raise InputError(f"is a file outside of the data set: {printable(path)}")
        data, status = read_with_status(path)
        return data, _status(status)

    def file_paths(self) -> list[str | None]:
        """Return the path of each image that is stored in a file of its own, and None for others.

        The images themselves are not read.
        """
        import pyarrow.compute as pc

        found: list[str | None] = []
        for split in self.splits:
            table = split.with_format("arrow")
            for start in range(0, len(split), CHUNK):
                column = table[start : start + CHUNK].column(self.column)
                in_row = pc.is_valid(pc.struct_field(column, "bytes"))
                paths = pc.if_else(in_row, None, pc.struct_field(column, "path"))
                found += paths.to_pylist()
        return found

    def identity(self) -> str:
        """Return a digest that changes if the files of the rows change."""
        digest = hashlib.blake2b(digest_size=16)
        for name, split in zip(self.names, self.splits, strict=True):
            files = [Path(file["filename"]) for file in split.cache_files]
            statuses = [(str(file), *_status(file.stat())) for file in files]
            described = (name, self.column, len(split), split._fingerprint, statuses)
            digest.update(repr(described).encode())
        return digest.hexdigest()


class HubImages(EncodedImages):
    """Read images by row, and notice if one has changed since it was inspected."""

    def __init__(self, where: str, rows: HubRows, digests: Sequence[str]) -> None:
        self.where, self.rows, self.digests = where, rows, digests

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image; raise DataError if it has changed or can't be read."""
        return self.verified(index, self.digests[index], lambda: self.rows.data(index)[0])

    def name(self, index: int) -> str:
        """Return the data set, the split and the row of an image."""
        split, row = self.rows.place(index)
        return printable(f"{self.where}: row {row} of the split {self.rows.names[split]}")


def inspect_rows(rows: HubRows, cache: Path) -> Inspection:
    """Return what is known about each image; decode those that are new or have changed.

    cache: the folder in which this is kept. A progress bar is shown if it takes more than a second.
    """
    place = f"datasets:{rows.identity()}"
    with contextlib.closing(InspectionCache(cache)) as kept, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's; here, because threads share the filters
        found = _known(place, rows, kept)
        new = [index for index in range(len(rows)) if index not in found]
        with (
            ThreadPoolExecutor(processors(), "inspect images") as pool,
            tqdm(
                total=len(rows), initial=len(found), desc="inspecting images", unit="image",
                delay=1, leave=False,
            ) as bar,
        ):  # fmt: skip
            for start in range(0, len(new), CHUNK):
                chunk = new[start : start + CHUNK]
                started_ns = time.time_ns()
                inspected = list(pool.map(lambda index: _inspect(place, rows, index), chunk))
                found.update(zip(chunk, inspected, strict=True))
                kept.add([row for row in inspected if _is_settled(row.status, started_ns)])
                bar.update(len(chunk))
    return _inspection([found[index] for index in range(len(rows))])


def _known(place: str, rows: HubRows, kept: InspectionCache) -> dict[int, Row]:
    """Return what was found earlier about images that have not changed since."""
    known = {row.path: row for row in kept.rows(place.encode())}
    found: dict[int, Row] = {}
    if not known:
        return found
    for index, path in enumerate(rows.file_paths()):
        row = known.get(f"{place}/{rows.path(index)}".encode())
        if row is None:
            continue
        with contextlib.suppress(OSError):
            if row.status == (NO_STATUS if path is None else _status(os.stat(path))):
                found[index] = row
    return found


def _inspect(place: str, rows: HubRows, index: int) -> Row:
    name = f"{place}/{rows.path(index)}".encode()
    try:
        data, status = rows.data(index)
    except InputError as error:
        # As if it had just been changed, so that it is not kept.
        return Row(name, Status(0, 0, time.time_ns(), 0), "", 0, 0, 0, str(error))
    width = height = channels = 0
    problem = ""
    try:
        width, height, channels = examine(data)
    except InputError as error:
        problem = str(error)
    return Row(name, status, digest_of(data), width, height, channels, problem)


def _is_settled(status: Status, started_ns: int) -> bool:
    return max(status.modified_ns, status.changed_ns) + SETTLED_NS <= started_ns


def _status(found: os.stat_result) -> Status:
    return Status(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _inspection(rows: Sequence[Row]) -> Inspection:
    return Inspection(
        digests=tuple(row.digest for row in rows),
        widths=np.array([row.width for row in rows], np.int32),
        heights=np.array([row.height for row in rows], np.int32),
        channels=np.array([row.channels for row in rows], np.int8),
        bytes=np.array([row.status.size for row in rows], np.int64),
        modified_ns=np.array([row.status.modified_ns for row in rows], np.int64),
        problems={index: row.problem for index, row in enumerate(rows) if row.problem},
    )
