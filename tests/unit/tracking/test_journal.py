"""The journal keeps what is logged through kills, damage and a full disk."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebook.tracking import journal
from tunebook.tracking.journal import Journal

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.text(), PLAIN, max_size=4), min_size=1, max_size=6)


def records_in(path: Path) -> list[dict[str, Any]]:
    return [record for record, _ in journal.read(path)]


@given(records=RECORDS)
@settings(max_examples=100, deadline=None)
def test_every_record_comes_back_in_order(records: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        written = Journal(path)
        for record in records:
            written.append(record)
        written.close()
        assert records_in(path) == records


@given(records=RECORDS, cut=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_a_kill_in_the_middle_of_a_line_costs_that_line_alone(
    records: list[dict[str, Any]], cut: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        lines = [journal.encode(record) for record in records]
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][: int(cut * (len(lines[-1]) - 1))])
        written = Journal(path)
        written.append({"after": "the kill"})
        written.close()
        assert records_in(path) == [*records[:-1], {"after": "the kill"}]


@given(records=RECORDS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_line_is_never_sent(records: list[dict[str, Any]], data: st.DataObject) -> None:
    lines = [journal.encode(record) for record in records]
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[number]) - 2))
    damaged = bytearray(lines[number])
    damaged[place] ^= 1
    if b"\n" in damaged[:-1]:
        return  # two lines, neither of them complete
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        path.write_bytes(b"".join([*lines[:number], bytes(damaged), *lines[number + 1 :]]))
        assert records_in(path) == [*records[:number], *records[number + 1 :]]


def test_a_full_disk_keeps_records_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    written = Journal(path)
    written.append({"n": 0})
    write = os.write

    def full(file: int, data: bytes) -> int:
        write(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    written.append({"n": 1})
    written.append({"n": 2})
    assert records_in(path) == [{"n": 0}]
    assert written.flush() == 2
    monkeypatch.setattr(os, "write", write)
    written.append({"n": 3})
    assert written.flush() == 0
    written.close()
    assert records_in(path) == [{"n": n} for n in range(4)]
    assert json.loads(path.read_bytes().split(b"\n")[0].partition(b" ")[2]) == {"n": 0}
