"""Write the report: one HTML page, its plots as PNG, and the leaderboard as CSV.

The page is self-contained.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tunebook.analysis.as_json import as_json
from tunebook.analysis.findings import Findings
from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.learning import is_ranked
from tunebook.analysis.levels import as_text
from tunebook.analysis.sampling import FAILED
from tunebook.redaction import redact
from tunebook.report.html import render
from tunebook.report.pictures import Picture, pictures
from tunebook.report.read import ComparedRuns
from tunebook.report.table import columns, tested
from tunebook.run_folder import write_atomically
from tunebook.text_output import clipped, counted, csv_cell

PAGE, LEADERBOARD, FINDINGS = "report.html", "leaderboard.csv", "findings.json"
MAX_ROWS = 50  # in the tables of the page; the CSV has all of them
MAX_HEADER = 32  # characters


def write(study: ComparedRuns, findings: Findings, folder: Path) -> Path:
    """Write the page, the pictures and the CSV into `folder`, and return the path of the page.

    They replace those of an earlier report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    drawn = list(
        tqdm(pictures(study.results, findings), "drawing", disable=None, leave=False, delay=1)
    )
    for picture in drawn:
        write_atomically(folder / f"{picture.name}.png", picture.png())
    write_atomically(folder / LEADERBOARD, redact(_csv(study, findings)).encode(errors="replace"))
    described = json.dumps(as_json(findings), indent=1, default=str, allow_nan=False)
    write_atomically(folder / FINDINGS, redact(described).encode(errors="replace"))
    write_atomically(folder / PAGE, redact(page(study, findings, drawn)).encode(errors="replace"))
    return folder / PAGE


def page(study: ComparedRuns, findings: Findings, drawn: Sequence[Picture]) -> str:
    """Return the page as text.

    Text from runs, such as names and errors, is escaped.
    """
    results, table = study.results, columns(study, findings)
    failed = [run for run in results.runs if run.state in FAILED]
    return render(
        "page.html",
        name=results.name,
        objective=results.objective,
        findings=findings,
        table=[(clipped(column.header, MAX_HEADER), column) for column in table],
        rows=len(table[0].cells) if table else 0,
        most=MAX_ROWS,
        pictures=[(picture, picture.svg()) for picture in drawn],
        states=Counter(run.state for run in results.runs).most_common(),
        runs=counted(len(results.runs), "run"),
        failed=failed,
        ranked=sum(map(is_ranked, results.runs)),
    )


def _csv(study: ComparedRuns, findings: Findings) -> str:
    """Return one line per configuration, with numbers in full precision.

    Cells are escaped, so that a spreadsheet does not read any of them as a formula.
    """
    names = [setting.name for setting in study.results.settings]
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(
        map(
            csv_cell,
            [
                *names,
                "n",
                "median",
                "mean",
                "sd",
                "half_width_95",
                study.tested_metric,
                "seconds",
                "seeds",
                "states",
                "runs",
            ],
        )
    )
    for one in findings.leaderboard:
        out.writerow(map(csv_cell, _csv_row(study, one, names)))
    return text.getvalue()


def _csv_row(study: ComparedRuns, one: Configuration, names: Sequence[str]) -> list[object]:
    """Return a configuration's cells: the settings with these names, then its figures."""
    figures = (
        "" if math.isnan(value) else repr(value)
        for value in (one.median, one.mean, one.sd, one.half_width)
    )
    test_figure = tested(study, one)
    states = " ".join(f"{count} {state}" for state, count in one.states.items())
    return [
        *(as_text(one.values[name]) if name in one.values else "" for name in names),
        one.n,
        *figures,
        "" if test_figure is None else repr(test_figure),
        "" if math.isnan(one.seconds) else f"{one.seconds:.1f}",
        " ".join(map(str, one.seeds)),
        states,
        " ".join(run.run_id for run in one.runs),
    ]
