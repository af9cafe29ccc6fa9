"""Print the findings in a terminal."""

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunebook.analysis.findings import Findings
from tunebook.report.page import Row, rows
from tunebook.report.read import ComparedRuns
from tunebook.text_output import printable

MAX_ROWS = 20  # of the leaderboard
PLAIN_WIDTH = 160  # characters per line without a terminal


def print_findings(study: ComparedRuns, findings: Findings, file: TextIO | None = None) -> None:
    """Print the leaderboard, the findings, and what to run next.

    file: the output; standard output if it is None.
    """
    file = file or sys.stdout
    whole = not file.isatty()  # one line per sentence, for programs that read them
    width = PLAIN_WIDTH if whole else None
    console = Console(file=file, width=width, highlight=False, markup=False)
    shown = rows(study, findings)
    if shown:
        console.print(_table(study, shown[:MAX_ROWS]))
        if len(shown) > MAX_ROWS:
            console.print(f"... and {len(shown) - MAX_ROWS} more")
        console.print()
    for sentence in findings.sentences:
        console.print(Text("- " + printable(sentence)), soft_wrap=whole)
    for warning in findings.warnings:
        console.print(Text("! " + printable(warning)), soft_wrap=whole)
    if findings.next_commands:
        console.print("\nnext")
        for command in findings.next_commands:
            console.print(Text("  " + command), soft_wrap=True)  # so that it can be copied


def _table(study: ComparedRuns, shown: Sequence[Row]) -> Table:
    has_tested = any(row.tested for row in shown)
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    median = f"{printable(study.results.objective)}, median"
    tested = [f"{printable(study.tested_metric)}, median"] if has_tested else []
    for name in ("n", median, "sd", "95 % +-", *tested, "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for row in shown:
        figures = [row.median, row.sd, row.interval, *([row.tested] if has_tested else [])]
        table.add_row(str(row.place), str(row.n), *figures, row.time, printable(row.settings))
    return table
