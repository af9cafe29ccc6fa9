"""Read the columns of a table of images: a CSV or a Parquet file, which is not trusted.

This module does not import torch or pandas.
"""

import csv
import io
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from tunebook.config.validation import format_value, suggest
from tunebook.data.decoding import kind_of_special_file, open_without_waiting
from tunebook.data.download import DataError
from tunebook.text_output import counted, printable

log = logging.getLogger(__name__)

REQUIRED, OPTIONAL = ("path", "label"), ("split", "group")
MAX_BYTES = 512 * 2**20
MAX_ROWS = 20_000_000
DELIMITERS = ",;\t"
Columns = dict[str, list[str]]


def read_table(table: Path) -> Columns:
    """Return the columns path, label, and, where there are any, split and group, as text.

    A CSV file is UTF-8 with a header, and separated by commas, semicolons or tabs. The case of the
    columns' names does not matter. Other columns are ignored, with a line in the log.
    Raises DataError for a file that can't be used.
    """
    where = f"data.table={printable(str(table))}"
    read = READERS.get(table.suffix.lower())
    if read is None:
        raise DataError(f"{where}: is no table; allowed: a file named {', '.join(READERS)}")
    try:
        with open(table, "rb", opener=open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if kind := kind_of_special_file(status.st_mode):
                raise DataError(f"{where}: is {kind}, not a table")
            if status.st_size > MAX_BYTES:
                raise DataError(f"{where}: has {status.st_size:,} bytes, more than {MAX_BYTES:,}")
            columns = read(where, file)
    except FileNotFoundError:
        raise DataError(f"{where}: no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or format_value(error)
        raise DataError(f"{where}: can't be read ({reason})") from None
    if not columns["path"]:
        raise DataError(f"{where}: has no rows")
    return columns


def _positions(where: str, header: Sequence[str]) -> dict[str, int]:
    """Return the position of each column that is used."""
    names = [name.strip().casefold() for name in header]
    known = (*REQUIRED, *OPTIONAL)
    for name in known:
        if names.count(name) > 1:
            raise DataError(f"{where}: has {names.count(name)} columns {name!r}")
    unknown = [name for name in names if name not in known]
    for name in REQUIRED:
        if name not in names:
            shown = ", ".join(format_value(other) for other in header[:10])
            raise DataError(
                f"{where}: has no column {name!r}, only: {shown}.{suggest(name, unknown)}"
            )
    if unknown:
        hints = {suggest(name, OPTIONAL) for name in unknown}
        text = ", ".join(format_value(name) for name in unknown[:10])
        log.info("%s: columns ignored: %s.%s", where, text, "".join(sorted(hints)))
    return {name: names.index(name) for name in known if name in names}


def _read_csv(where: str, file: BinaryIO) -> Columns:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    number = 0
    try:
        first = text.readline()
        delimiter = max(DELIMITERS, key=first.count)
        rows = csv.reader(itertools.chain([first], text), delimiter=delimiter, strict=True)
        header = next(rows, [])
        positions = _positions(where, header)
        columns: Columns = {name: [] for name in positions}
        shared: dict[str, str] = {}  # one object for equal texts, of which there are many
        for row in rows:
            if not row:
                continue
            number += 1
            if len(row) != len(header):
                fields = counted(len(row), "field")
                raise DataError(
                    f"{where}, row {number}: has {fields}, but the header has {len(header)}"
                )
            for name, position in positions.items():
                columns[name].append(shared.setdefault(row[position], row[position]))
    except csv.Error as error:
        raise DataError(f"{where}, row {number + 1}: is malformed ({error})") from None
    except UnicodeDecodeError:
        raise DataError(f"{where}: is not UTF-8 after row {number}") from None
    finally:
        text.detach()  # the caller closes the file
    return columns


def _read_parquet(where: str, file: BinaryIO) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
        header = parquet.schema_arrow.names
        if parquet.metadata.num_rows > MAX_ROWS:
            raise DataError(
                f"{where}: has {parquet.metadata.num_rows:,} rows, more than {MAX_ROWS:,}"
            )
        positions = _positions(where, header)
        found = parquet.read([header[n] for n in positions.values()], use_threads=False)
        columns: Columns = {}
        for name, position in positions.items():
            values = found.column(header[position]).cast(pa.string()).to_pylist()
            columns[name] = ["" if value is None else value for value in values]
    except pa.ArrowException as error:
        raise DataError(f"{where}: can't be read as Parquet ({format_value(error)})") from None
    return columns


READERS: dict[str, Callable[[str, BinaryIO], Columns]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
