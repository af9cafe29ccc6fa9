"""Text from outside reaches a terminal and a spreadsheet as plain text."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebook.text_output import FORMULA_STARTS, NUMBER, csv_cell, printable

ANY_TEXT = st.text(st.characters(blacklist_categories=()))  # lone surrogates included


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo 1, ü 数.png", "photo 1, ü 数.png"),
        ("a\x1b[31mred\x07.png", r"a\x1b[31mred\x07.png"),
        ("a\nb\tc\r\x85\u2028.png", r"a\nb\tc\r\x85\u2028.png"),
        (b"caf\xe9.png".decode(errors="surrogateescape"), r"caf\xe9.png"),
        ("gnp.\u202eexe", r"gnp.\u202eexe"),
        ("\x9b2J", r"\x9b2J"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_printable_text_is_one_line_without_controls(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert all(char.isprintable() or char.isspace() for char in shown)
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1.png", "'=1+1.png"), ("+1+1", "'+1+1"), ("-2+3|cmd", "'-2+3|cmd"),
        ("@SUM(A1)", "'@SUM(A1)"), ("  =1", "'  =1"), ("\t=1", r"'\t=1"), ("\rx", r"'\rx"),
        ("\N{FULLWIDTH EQUALS SIGN}1", "'\N{FULLWIDTH EQUALS SIGN}1"),
        ("-0.5", "-0.5"), ("+1e-3", "+1e-3"), ("-inf", "-inf"), ("a=1", "a=1"), ("", ""),
        (-0.5, -0.5), (None, None), (True, True),
    ],
)  # fmt: skip
def test_a_cell_is_no_formula(value: object, cell: object) -> None:
    assert csv_cell(value) == cell


@given(st.lists(ANY_TEXT, min_size=1))
def test_a_table_comes_back_as_it_was_written(texts: list[str]) -> None:
    cells = [csv_cell(text) for text in texts]
    file = io.StringIO()
    csv.writer(file).writerow(cells)
    (row,) = csv.reader(io.StringIO(file.getvalue().encode().decode()))
    assert row == cells
    assert not any(cell.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(cell) for cell in row)
