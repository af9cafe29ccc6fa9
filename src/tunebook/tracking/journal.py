"""Keep a run's journal: a file with everything to be logged to MLflow, one record per line.

The records are in chronological order. Training only appends to the file, so a slow server can't
hold it up. A line is a CRC-32 of the rest, a space and JSON. A line that was truncated by a kill
or damaged on the disk is recognized and never sent.
"""

import json
import logging
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tunebook.untrusted import MAX_LINE, open_regular, parse_json

log = logging.getLogger(__name__)

Record = dict[str, Any]
BLOCK = 1 << 16  # bytes read at once from the end


def encode(record: Record) -> bytes:
    """Return a record as a line of the journal."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> Record | None:
    """Return the record on a line, or None if the line is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        record = parse_json(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Yield each whole record from byte `offset` on, with the offset after it.

    Damaged lines are left out, with a warning. An unfinished last line is left for the next call.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s can't be read: %s", path, error.strerror or error)
        return
    with file:
        file.seek(offset)
        for line in _lines(file):
            offset = file.tell()
            record = decode(line)
            if record is None:
                log.warning("%s: the line before byte %d is damaged and is skipped", path, offset)
            else:
                yield record, offset


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield each finished line, but only the last part of a line that is too long to be valid."""
    while line := file.readline(MAX_LINE):
        while not line.endswith(b"\n"):
            more = file.readline(MAX_LINE)
            if not more:
                return
            line = more
        yield line


class Journal:
    """Append records to the journal of a run.

    Any thread may append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[bytes] = []  # records that are not written yet because the disk is full
        self._lock = threading.Lock()
        self._file = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
        self._size = _whole_lines(path)
        os.ftruncate(self._file, self._size)  # removes a line that a kill cut short

    def append(self, record: Record) -> None:
        """Pass a record to the operating system, so that it is not lost if this process is killed.

        If the disk is full, the record is kept in memory and written once there is space.
        """
        with self._lock:
            self._waiting.append(encode(record))
            self._write()

    def flush(self) -> int:
        """Retry writing the records that were kept in memory because the disk was full.

        Returns the number of records that are still not written.
        """
        with self._lock:
            self._write()
            return len(self._waiting)

    def _write(self) -> None:
        data = b"".join(self._waiting)
        try:
            if data and os.write(self._file, data) != len(data):
                raise OSError("short write")
        except OSError:
            os.ftruncate(self._file, self._size)  # half a line would damage the next one
            return
        self._size += len(data)
        self._waiting.clear()

    def sync(self) -> None:
        """Flush the appended records to the disk, so that a power failure can't lose them."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file, after which no record can be appended."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


def _whole_lines(path: Path) -> int:
    """Return the number of bytes up to the end of the last finished line."""
    with open_regular(path) as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0
