"""The run's own record on disk: what is to be told to MLflow, a line a record, in the order that it happened.

Training only ever appends here, which no server can slow down. A line is a CRC-32 of the rest, a space and JSON; a line that was
cut short by a kill or damaged on disk is recognised and never sent.
"""

import json
import logging
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tunebook.untrusted import LONGEST_LINE, open_regular, parse_json

log = logging.getLogger(__name__)

Record = dict[str, Any]
BLOCK = 1 << 16  # bytes read at once from the end


def encode(record: Record) -> bytes:
    """One line."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> Record | None:
    """The record of a line; None where the line is not what was written."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        record = parse_json(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Each whole record from byte `offset` on, with the offset after it. Damaged lines are left out, and said; a last line that is
    not finished yet is left for the next time."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s is not read: %s", path, error.strerror or error)
        return
    with file:
        file.seek(offset)
        for line in _lines(file):
            offset = file.tell()
            record = decode(line)
            if record is None:
                log.warning("%s: the line before byte %d is damaged, and is left out", path, offset)
            else:
                yield record, offset


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield each finished line; of one that is too long to be ours, its last part."""
    while line := file.readline(LONGEST_LINE):
        while not line.endswith(b"\n"):
            more = file.readline(LONGEST_LINE)
            if not more:
                return
            line = more
        yield line


class Journal:
    """The journal of the run that this process works on. Any thread may append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[bytes] = []  # what a full disk has not taken yet
        self._lock = threading.Lock()
        self._file = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
        self._size = _whole_lines(path)
        os.ftruncate(self._file, self._size)  # a line that a kill cut short

    def append(self, record: Record) -> None:
        """Hands the record to the operating system, from where a kill of this process can't take it. Where the disk is full it is
        kept, and written with the next that finds room."""
        with self._lock:
            self._waiting.append(encode(record))
            self._write()

    def flush(self) -> int:
        """Tries once more what the disk has not taken; the number of records that it still does not take."""
        with self._lock:
            self._write()
            return len(self._waiting)

    def _write(self) -> None:
        data = b"".join(self._waiting)
        try:
            if data and os.write(self._file, data) != len(data):
                raise OSError("short write")
        except OSError:
            os.ftruncate(self._file, self._size)  # half a line would hide the next
            return
        self._size += len(data)
        self._waiting.clear()

    def sync(self) -> None:
        """Waits until the disk has what was appended: for a power cut, not for a kill."""
        os.fsync(self._file)

    def close(self) -> None:
        """No more records."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


def _whole_lines(path: Path) -> int:
    """Bytes up to the end of the last finished line."""
    with open_regular(path) as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0
