"""Remove what this program keeps about the images of data sets: it can be made again.

Only files whose names are of the program's own making are removed, and never a folder.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
DECODED = re.compile(r"([0-9a-f]{32})\.(images|unfinished|lock)")
INSPECTIONS = re.compile(r"inspections\.sqlite(-journal|-wal|-shm|\.damaged)?")


@dataclass(frozen=True)
class Cleaned:
    """Hold what was removed, and the files that were not, with the reasons."""

    files: int
    bytes: int
    kept: tuple[tuple[Path, str], ...]


def clean(folder: Path) -> Cleaned:
    """Remove the decoded images and the inspections in a cache folder.

    Decoded images whose lock is held by another process are kept.
    """
    files, size = 0, 0
    kept: list[tuple[Path, str]] = []
    decoded: dict[str, list[Path]] = {}
    inspections: list[Path] = []
    for path in _regular_files(folder):
        if match := DECODED.fullmatch(path.name):
            decoded.setdefault(match[1], []).append(path)
        elif INSPECTIONS.fullmatch(path.name):
            inspections.append(path)
    for key, paths in [*decoded.items(), ("", inspections)]:
        try:
            if key:
                lock = folder / f"{key}{LOCK}"
                with FileLock(lock, timeout=0):
                    removed = _remove({*paths, lock})
            else:
                removed = _remove(set(paths))
        except Timeout:
            kept += [(path, "is in use") for path in paths if path.suffix != LOCK]
            continue
        except OSError as error:
            kept.append((paths[0], str(error.strerror or error)))
            continue
        files, size = files + removed[0], size + removed[1]
    return Cleaned(files, size, tuple(kept))


def _regular_files(folder: Path) -> Iterator[Path]:
    """Yield the regular files in a folder, by their names; none if there is no such folder."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _remove(paths: set[Path]) -> tuple[int, int]:
    """Remove files, and return the number of those with content, and their size in bytes."""
    files, size = 0, 0
    for path in paths:
        found = path.lstat().st_size
        path.unlink()
        files, size = files + (found > 0), size + found
    return files, size
