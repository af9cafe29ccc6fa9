"""What is measured is printed and written with its median, its range and its number."""

import json
from pathlib import Path

import pytest

from tunebook.bench.tables import Row, Table, ratios, write_json


def test_ratios_are_those_of_pairs() -> None:
    assert ratios([1.0, 4.0, 9.0], [2.0, 2.0, 3.0]) == [0.5, 2.0, 3.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_a_table_has_the_median_the_range_and_n() -> None:
    text = Table("an epoch", [Row("ours", "s", [3.0, 1.0, 2.0]), Row("ratio", "", [0.5])]).to_text()
    assert "| ours, s | 2 (1 to 3) | 3 |" in text
    assert "| ratio | 0.5 (0.5 to 0.5) | 1 |" in text
    assert "skipped: no Keras" in Table("Keras", skipped="no Keras").to_text()


def test_the_file_has_the_machine_and_every_measurement(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench.json"
    write_json([Table("an epoch", [Row("ours", "s", [3.0, 1.0, 2.0])]), Table("other")], file)
    found = json.loads(file.read_text())
    assert found["machine"]
    assert found["versions"]["torch"]
    (row,) = found["tables"][0]["rows"]
    assert row == {
        "name": "ours", "unit": "s", "n": 3, "median": 2.0, "lowest": 1.0, "highest": 3.0,
        "values": [3.0, 1.0, 2.0],
    }  # fmt: skip
