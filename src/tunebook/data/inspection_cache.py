"""Keep what was found out about image files in an SQLite file.

It is only a cache. If it can't be used, one line of the log says so, and nothing is kept; if it is
damaged, it is made anew. Several processes may use it at once, and each may be killed at any time.
"""

import logging
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import PIL

from tunebook.text_output import printable

log = logging.getLogger(__name__)

NAME = "inspections.sqlite"
LOCK_TIMEOUT_S = 30
# Another version of this module or of Pillow may find out something else about the same file.
VERSION = zlib.crc32(f"1 {PIL.__version__}".encode()) >> 1
TABLE = """CREATE TABLE inspections (
    path BLOB PRIMARY KEY, size INTEGER, modified_ns INTEGER, changed_ns INTEGER, inode INTEGER,
    digest TEXT, width INTEGER, height INTEGER, channels INTEGER, problem TEXT
) WITHOUT ROWID"""
# Values that could not have been written here are left out.
SELECT = """SELECT * FROM inspections WHERE path >= ? AND path < ?
    AND typeof(digest) = 'text' AND length(digest) = 32 AND typeof(problem) = 'text'
    AND width BETWEEN 0 AND 100000000 AND height BETWEEN 0 AND 100000000
    AND channels BETWEEN 0 AND 3"""


class Status(NamedTuple):
    """Hold what tells whether a file has changed."""

    size: int
    modified_ns: int
    changed_ns: int  # of its contents, name or permissions; no program can set it
    inode: int


class Row(NamedTuple):
    """Hold what is known about a file.

    path: absolute, as bytes, since it may be no text. digest: hexadecimal; "" for a file
    that can't be opened, which is never kept. problem: "" for none.
    """

    path: bytes
    status: Status
    digest: str
    width: int
    height: int
    channels: int
    problem: str


class InspectionCache:
    """Read and write the SQLite file in a folder, from one thread."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / NAME
        self._connection: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connect()
        except sqlite3.OperationalError as error:
            self._give_up(error)
        except sqlite3.DatabaseError:
            self._make_anew()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def rows(self, folder: bytes) -> Iterator[Row]:
        """Yield what is known about the files in a folder, which is absolute, and below it."""
        start = folder.rstrip(b"/") + b"/"
        end = start[:-1] + b"0"  # the character after "/"
        try:
            if self._connection is not None:
                for path, size, modified, changed, inode, *rest in self._connection.execute(
                    SELECT, (start, end)
                ):
                    yield Row(path, Status(size, modified, changed, inode), *rest)
        except sqlite3.OperationalError as error:
            self._give_up(error)
        except sqlite3.DatabaseError:
            self._make_anew()

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows, in place of those of the same paths."""
        if self._connection is None or not rows:
            return
        try:
            with self._connection:  # a transaction
                self._connection.executemany(
                    "INSERT OR REPLACE INTO inspections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(row.path, *row.status, *row[2:]) for row in rows],
                )
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> None:
        connection = sqlite3.connect(self.file, timeout=LOCK_TIMEOUT_S)
        self._connection = connection
        if _version(connection) == VERSION:
            return
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if _version(connection) != VERSION:  # another process may have made the table
                connection.execute("DROP TABLE IF EXISTS inspections")
                connection.execute(TABLE)
                connection.execute(f"PRAGMA user_version = {VERSION}")

    def _make_anew(self) -> None:
        self.close()
        log.warning("%s is damaged and is made anew", printable(str(self.file)))
        try:
            for suffix in ("", "-journal"):
                self.file.with_name(NAME + suffix).unlink(missing_ok=True)
            self._connect()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.close()
        reason = printable(str(getattr(error, "strerror", None) or error))
        log.warning(
            "%s can't be used (%s): the image files are read again next time",
            printable(str(self.file)),
            reason,
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
