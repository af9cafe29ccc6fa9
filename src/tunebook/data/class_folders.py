"""Find the image files in the folders of classes, without opening them.

Symbolic links are followed. Within a class, a folder that is reached in several ways is searched
once, so that loops of links end.
"""

import logging
import os
import posixpath
from collections import Counter, deque
from pathlib import Path
from typing import NamedTuple

from tunebook.data.decoding import SUFFIXES, kind_of_special_file
from tunebook.data.download import DataError
from tunebook.text_output import counted, printable

log = logging.getLogger(__name__)

# Files and folders that operating systems and archives put beside images.
SYSTEM_NAMES = {"__MACOSX", "Thumbs.db", "desktop.ini"}
SHOWN_SUFFIXES = 5
Identity = tuple[int, int]


class _Content(NamedTuple):
    """Hold the names of what a folder contains: folders, links to folders, and image files."""

    folders: list[str]
    links: list[str]
    images: list[str]


class ClassFolders:
    """Search a folder whose subfolders are classes, or splits with classes in them.

    Paths are relative to `root`, with "/" between their parts. Every method raises DataError for a
    folder that can't be read, and for a name that is not UTF-8.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()
        self.stray = 0  # images beside the folders of classes
        self.above: set[Identity] = set()  # the folders that contain those of classes

    def classes(self, folder: str) -> list[str]:
        """Return the names of the folders in `root`, which is "", or in the folder of a split."""
        self.above.add(self._identity(folder))
        content = self._scan(folder)
        self.stray += len(content.images)
        links = [
            name
            for name in content.links
            if self._identity(posixpath.join(folder, name)) not in self.above
        ]
        return sorted(content.folders + links)

    def images(self, folder: str) -> list[str]:
        """Return the paths of the images in a class's folder and below it."""
        found: list[str] = []
        seen = set(self.above)
        # Links come last, so that a file is named by a path without links where there is one.
        folders, links = [folder], deque[str]()
        while folders or links:
            inside = folders.pop() if folders else links.popleft()
            identity = self._identity(inside)
            if identity in seen:
                continue
            seen.add(identity)
            content = self._scan(inside)
            folders += [f"{inside}/{name}" for name in sorted(content.folders, reverse=True)]
            links += [f"{inside}/{name}" for name in sorted(content.links)]
            found += [f"{inside}/{name}" for name in content.images]
        return found

    def log_left_out(self) -> None:
        """Log in one line how many files are no images of a class, and of which kinds."""
        outside = {"images outside of class folders": self.stray} if self.stray else {}
        # The most common first.
        kinds = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        kinds += outside.items()
        if kinds:
            text = ", ".join(f"{printable(kind)} ({n})" for kind, n in kinds[:SHOWN_SUFFIXES])
            more = ", ..." if len(kinds) > SHOWN_SUFFIXES else ""
            total = counted(sum(n for _, n in kinds), "file")
            log.info("%s: left out %s: %s", printable(str(self.root)), total, text + more)

    def _place(self, folder: str) -> str:
        return os.path.join(self.root, folder) if folder else str(self.root)

    def _error(self, folder: str, problem: str) -> DataError:
        where = printable(self._place(folder))
        return DataError(f"{where}: {problem}" if folder else f"data.root={where}: {problem}")

    def _identity(self, folder: str) -> Identity:
        try:
            status = os.stat(self._place(folder))
        except FileNotFoundError:
            raise self._error(folder, "no such folder") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self._error(folder, f"can't be read ({reason})") from None
        return status.st_dev, status.st_ino

    def _scan(self, folder: str) -> _Content:
        content = _Content([], [], [])
        try:
            with os.scandir(self._place(folder)) as entries:
                for entry in entries:
                    self._sort_in(folder, entry, content)
        except NotADirectoryError:
            kind = kind_of_special_file(os.stat(self._place(folder)).st_mode) or "a file"
            raise self._error(folder, f"is {kind}, not a folder") from None
        except OSError as error:
            raise self._error(folder, f"can't be read ({error.strerror})") from None
        return content

    def _sort_in(self, folder: str, entry: os.DirEntry[str], content: _Content) -> None:
        """Add an entry of a folder to its content, or count it as left out."""
        name = entry.name
        suffix = os.path.splitext(name)[1].lower()
        if _is_folder(entry):
            if is_shown(name):
                self._require_utf8(folder, name)
                (content.links if entry.is_symlink() else content.folders).append(name)
        elif not is_shown(name):
            self.left_out["hidden"] += 1
        elif suffix in SUFFIXES:
            self._require_utf8(folder, name)
            content.images.append(name)
        else:
            self.left_out[suffix or "without a suffix"] += 1

    def _require_utf8(self, folder: str, name: str) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise self._error(
                f"{folder}/{name}" if folder else name, "its name is not UTF-8; rename it"
            ) from None


def is_shown(name: str) -> bool:
    """Return whether a file or folder is neither hidden nor made by an operating system."""
    return not name.startswith(".") and name not in SYSTEM_NAMES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; False for a link that leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:  # such as a loop of links
        return False
