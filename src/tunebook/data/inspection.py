"""Find out the size, the colours and the digest of each image file, and whether it can be read.

What was found is kept in an SQLite file, so that only files that have changed since are read again.
"""

import contextlib
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tunebook.config.validation import InputError
from tunebook.data.decoding import NO_MEMORY, examine, ignoring_warnings, read_with_status
from tunebook.data.inspection_cache import InspectionCache, Row, Status
from tunebook.data.listing import Listing
from tunebook.machine import processors

MAX_THREADS = 16  # more would wait for each other, and each may hold a picture of 400 MB
FILES_AT_ONCE = 16  # that a thread inspects before it reports
SAVE_EVERY_S = 5.0
# A file that was written later than this before it was read is read again next time, since the
# clock of a file system may not tell a further change.
SETTLED_NS = 2 * 10**9
NO_STATUS = Status(0, 0, 0, 0)


@dataclass(frozen=True)
class Inspection:
    """Hold what was found out about each image of a listing, in its order.

    digests: BLAKE2b of the file's bytes, 32 hexadecimal digits; "" for a file that can't be opened.
    widths, heights: pixels, as the image is shown (after EXIF rotation); 0 if there is a problem.
    channels: 1 for a grey image, 3 for a coloured one; 0 if there is a problem.
    bytes, modified_ns: of the file when it was read.
    problems: position -> why the image can't be used, such as "is truncated".
    """

    digests: tuple[str, ...]
    widths: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int32]
    channels: npt.NDArray[np.int8]
    bytes: npt.NDArray[np.int64]
    modified_ns: npt.NDArray[np.int64]
    problems: Mapping[int, str]

    def part(self, kept: Sequence[int]) -> "Inspection":
        """Return what is known about the images at some positions."""
        return Inspection(
            tuple(self.digests[index] for index in kept),
            self.widths[kept],
            self.heights[kept],
            self.channels[kept],
            self.bytes[kept],
            self.modified_ns[kept],
            {new: self.problems[old] for new, old in enumerate(kept) if old in self.problems},
        )


def inspect_files(listing: Listing, cache: Path, show_progress: bool = True) -> Inspection:
    """Return what is known about the files of a listing; read those that are new or have changed.

    cache: the folder of the SQLite file. A progress bar is shown if it takes more than a second.
    """
    folder = os.path.abspath(listing.folder)
    paths = [os.path.join(folder, path) for path in listing.paths]
    findings = _Findings(len(paths))
    with contextlib.closing(InspectionCache(cache)) as kept, ignoring_warnings():
        new = findings.take_known(paths, kept.rows(os.fsencode(folder)))
        with tqdm(
            total=len(paths), initial=len(paths) - len(new), desc="inspecting images",
            unit="image", delay=1, leave=False, disable=not show_progress,
        ) as bar:  # fmt: skip
            unsaved: list[Row] = []
            saved_at = time.monotonic()
            for inspected in _inspected(paths, new):
                for position, row, is_settled in inspected:
                    findings.put(position, row)
                    if is_settled:
                        unsaved.append(row)
                bar.update(len(inspected))
                if time.monotonic() - saved_at > SAVE_EVERY_S:
                    kept.add(unsaved)
                    unsaved, saved_at = [], time.monotonic()
            kept.add(unsaved)
    return findings.inspection()


def digest_of(data: bytes) -> str:
    """Return the digest by which an image file is recognized: BLAKE2b, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class _Findings:
    """Gather what is found out about the files, by their positions."""

    def __init__(self, count: int) -> None:
        self.digests = [""] * count
        self.sizes = np.zeros((count, 2), np.int32)  # width, height
        self.channels = np.zeros(count, np.int8)
        self.bytes, self.modified_ns = np.zeros((2, count), np.int64)
        self.problems: dict[int, str] = {}

    def take_known(self, paths: Sequence[str], rows: Iterator[Row]) -> list[int]:
        """Take over the rows of files that have not changed since; return the other positions."""
        position_of = {os.fsencode(path): position for position, path in enumerate(paths)}
        for row in rows:
            position = position_of.get(row.path)
            if position is not None and _is_unchanged(row):
                self.put(position, row)
                del position_of[row.path]
        return sorted(position_of.values())

    def put(self, position: int, row: Row) -> None:
        """Take over what is known about the file at a position."""
        self.digests[position] = row.digest
        self.sizes[position] = row.width, row.height
        self.channels[position] = row.channels
        self.bytes[position] = row.status.size
        self.modified_ns[position] = row.status.modified_ns
        if row.problem:
            self.problems[position] = row.problem

    def inspection(self) -> Inspection:
        """Return what was gathered."""
        return Inspection(
            tuple(self.digests),
            self.sizes[:, 0],
            self.sizes[:, 1],
            self.channels,
            self.bytes,
            self.modified_ns,
            self.problems,
        )


def _is_unchanged(row: Row) -> bool:
    try:
        return _status(os.stat(row.path)) == row.status
    except OSError:
        return False


def _status(found: os.stat_result) -> Status:
    return Status(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _inspected(
    paths: Sequence[str], positions: Sequence[int]
) -> Iterator[list[tuple[int, Row, bool]]]:
    """Yield what `_inspect` returns, with the position before it, for several files at once.

    Decoders release the interpreter's lock, so that threads share the work on large images. Small
    ones are not faster with several threads, but take a fraction of a millisecond each.
    """
    stopped = threading.Event()

    def inspect(some: Sequence[int]) -> list[tuple[int, Row, bool]]:
        return [(n, *_inspect(paths[n])) for n in some if not stopped.is_set()]

    threads = min(processors(), MAX_THREADS)
    pending: deque[Future[list[tuple[int, Row, bool]]]] = deque()
    with ThreadPoolExecutor(threads, "inspect images") as pool:
        try:
            for start in range(0, len(positions), FILES_AT_ONCE):
                pending.append(pool.submit(inspect, positions[start : start + FILES_AT_ONCE]))
                if len(pending) > 4 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            stopped.set()


def _inspect(path: str) -> tuple[Row, bool]:
    """Return what is found out about a file, and whether that may be kept for the next time."""
    name, started_ns = os.fsencode(path), time.time_ns()
    try:
        data, found = read_with_status(path)
    except InputError as error:
        return Row(name, NO_STATUS, "", 0, 0, 0, str(error)), False
    status = _status(found)
    width = height = channels = 0
    problem = ""
    try:
        if not data:
            raise InputError("is empty")
        width, height, channels = examine(data)
    except InputError as error:
        problem = str(error)
    row = Row(name, status, digest_of(data), width, height, channels, problem)
    # The change of the status counts as well, because a program can set the time of the content.
    changed_ns = max(status.modified_ns, status.changed_ns)
    return row, changed_ns + SETTLED_NS <= started_ns and problem != NO_MEMORY
