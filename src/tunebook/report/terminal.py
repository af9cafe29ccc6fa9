"""Print the findings in a terminal."""

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunebook.analysis.findings import Findings
from tunebook.report.read import ComparedRuns
from tunebook.report.table import Column, columns
from tunebook.text_output import counted, printable

MAX_ROWS = 10  # of the leaderboard
PLAIN_WIDTH = 160  # characters per line without a terminal
GAP = 2  # characters between columns


def print_findings(study: ComparedRuns, findings: Findings, file: TextIO | None = None) -> None:
    """Print the findings, the warnings, the leaderboard, and what to run next.

    file: the output; standard output if it is None.
    """
    file = file or sys.stdout
    whole = not file.isatty()  # one line per sentence, for programs that read them
    width = PLAIN_WIDTH if whole else None
    console = Console(file=file, width=width, highlight=False, markup=False)
    for sentence in findings.sentences:
        console.print(Text("- " + printable(sentence)), soft_wrap=whole)
    for warning in findings.warnings:
        console.print(Text("! " + printable(warning)), soft_wrap=whole)
    _print_leaderboard(console, columns(study, findings))
    if findings.next_commands:
        console.print("\nnext")
        why = ""
        for one in findings.next:
            if one.why != why:  # a comment in a shell
                why = one.why
                console.print(Text("  # " + printable(why)), soft_wrap=True)
            console.print(Text("  " + one.command), soft_wrap=True)  # so that it can be copied


def _print_leaderboard(console: Console, every: Sequence[Column]) -> None:
    """Print the first rows, with as many columns as fit, and say what is left out."""
    count = len(every[0].cells) if every else 0
    if not count:
        return
    rows = min(count, MAX_ROWS)
    shown, left_out = fitting(every, rows, console.width)
    console.print()
    # If even the figures do not fit, the terminal wraps the lines; no figure is cut.
    console.width = max(console.width, _width(shown, rows))
    console.print(_table(shown, rows))
    if count > rows:
        console.print(f"... and {count - rows} more in leaderboard.csv")
    if left_out:
        names = ", ".join(column.header for column in left_out)
        text = f"and {counted(len(left_out), 'more setting')}, which matter least: {names}"
        console.print(Text(text), soft_wrap=True)


def fitting(every: Sequence[Column], rows: int, width: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that fit into a line of `width` characters, and the others.

    The settings that matter least are left out. Figures are always kept. Columns without any cell
    are in neither of the two.
    rows: the number of rows that are shown.
    """
    shown, left_out = [one for one in every if any(one.cells[:rows])], list[Column]()
    while _width(shown, rows) > width and any(column.rank for column in shown):
        last = max(shown, key=lambda column: column.rank)
        shown.remove(last)
        left_out.insert(0, last)
    return shown, left_out


def _width(shown: Sequence[Column], rows: int) -> int:
    """Return the length of a line: the place, then every column with the gap before it."""
    widest = (
        max(cell_len(text) for text in (column.header, *column.cells[:rows])) for column in shown
    )
    return len(str(rows)) + sum(GAP + width for width in widest)


def _table(shown: Sequence[Column], rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    table.add_column("", justify="right", no_wrap=True)
    for column in shown:
        justify = "right" if column.is_numeric else "left"
        table.add_column(column.header, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for place in range(rows):
        table.add_row(str(place + 1), *(column.cells[place] for column in shown))
    return table
