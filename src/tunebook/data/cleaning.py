"""Remove what this program keeps about the images of data sets: it can be made again.

Only files whose names are of the program's own making are removed, and never a folder.
"""

import contextlib
import fcntl
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tunebook.data.cache import LOCK, SUFFIX, UNFINISHED
from tunebook.data.inspection_cache import NAME

DECODED = re.compile(rf"([0-9a-f]{{32}})({re.escape(SUFFIX)}|{re.escape(UNFINISHED)})")
INSPECTIONS = re.compile(rf"{re.escape(NAME)}(-journal|-wal|-shm)?")


@dataclass(frozen=True)
class Cleaned:
    """Hold what was removed, and the files that were not, with the reasons."""

    files: int
    bytes: int
    kept: tuple[tuple[Path, str], ...]


def clean(folder: Path) -> Cleaned:
    """Remove the decoded images and the inspections in a cache folder.

    Decoded images that another process writes or reads are kept.
    """
    files, size = 0, 0
    kept: list[tuple[Path, str]] = []
    for path in _regular_files(folder):
        match = DECODED.fullmatch(path.name)
        if match is None and not INSPECTIONS.fullmatch(path.name):
            continue
        lock = None if match is None else folder / f"{match[1]}{LOCK}"
        try:
            found = path.lstat().st_size
            with contextlib.nullcontext() if lock is None else FileLock(lock, timeout=0):
                _remove(path, is_decoded=lock is not None)
                if lock is not None:
                    lock.unlink(missing_ok=True)
        except (Timeout, BlockingIOError):
            kept.append((path, "is in use"))
        except FileNotFoundError:
            continue  # another process has removed it
        except OSError as error:
            kept.append((path, f"can't be removed: {error.strerror or error}"))
        else:
            files, size = files + 1, size + found
    return Cleaned(files, size, tuple(kept))


def _regular_files(folder: Path) -> Iterator[Path]:
    """Yield the regular files in a folder, by their names; none if there is no such folder."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink():
                yield path


def _remove(path: Path, is_decoded: bool) -> None:
    """Remove a file; raise BlockingIOError if it is one of decoded images and has readers."""
    if is_decoded:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    else:
        path.unlink()
