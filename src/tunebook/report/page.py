"""Write the report: one HTML page, its plots as PNG, and the leaderboard as CSV.

The page is self-contained.
"""

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tunebook.analysis.findings import Findings
from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.learning import is_ranked
from tunebook.analysis.levels import as_text
from tunebook.analysis.sampling import FAILED
from tunebook.analysis.sentences import configuration_text, failures_text, value_text
from tunebook.metrics.facts import facts_of
from tunebook.redaction import redact
from tunebook.report.html import render
from tunebook.report.pictures import Picture, pictures
from tunebook.report.pictures.style import clipped
from tunebook.report.read import ComparedRuns
from tunebook.run_folder import write_atomically
from tunebook.text_output import counted, csv_cell

PAGE, LEADERBOARD = "report.html", "leaderboard.csv"
MAX_ROWS = 50  # in the tables of the page; the CSV has all of them


@dataclass(frozen=True)
class Row:
    """Hold a configuration as it is shown in the tables.

    tested: the median of a test metric over the runs that learned and were tested, or "".
    """

    place: int
    settings: str
    n: int
    median: str
    sd: str
    interval: str
    tested: str
    time: str


def rows(study: ComparedRuns, findings: Findings) -> list[Row]:
    """Return the ranked configurations, best first."""
    objective = study.results.objective
    factor = facts_of(objective).factor
    found: list[Row] = []
    for place, one in enumerate((c for c in findings.leaderboard if c.n), 1):
        sd, interval = (
            "" if math.isnan(x) else f"{factor * x:.2f}" if factor > 1 else f"{x:.3g}"
            for x in (one.sd, one.half_width)
        )
        tested = _tested(study, one)
        tested_text = "" if tested is None else _tested_text(study, one, tested)
        took = "" if math.isnan(one.seconds) else duration(one.seconds)
        found.append(
            Row(
                place,
                _settings(one),
                one.n,
                value_text(objective, one.median),
                sd,
                interval,
                tested_text,
                took,
            )
        )
    return found


def _settings(one: Configuration) -> str:
    return f"{configuration_text(one)}  {failures_text(one)}".rstrip()


def _tested(study: ComparedRuns, one: Configuration) -> float | None:
    if study.results.objective.startswith("test/"):
        return None
    known = one.figures(study.tested)
    return statistics.median(known) if known else None


def _tested_text(study: ComparedRuns, one: Configuration, tested: float) -> str:
    """Return the test metric, for a single run with its interval over test images."""
    text = value_text(study.tested_metric, tested)
    limits = study.intervals.get(one.learned[0].run_id) if len(one.learned) == 1 else None
    if limits is None:
        return text
    low, high = (value_text(study.tested_metric, limit) for limit in limits)
    return f"{text} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def duration(seconds: float) -> str:
    """Return a duration in the unit that fits: seconds, minutes or hours."""
    return (
        f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.1f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


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
    write_atomically(folder / PAGE, redact(page(study, findings, drawn)).encode(errors="replace"))
    return folder / PAGE


def page(study: ComparedRuns, findings: Findings, drawn: Sequence[Picture]) -> str:
    """Return the page as text.

    Text from runs, such as names and errors, is escaped.
    """
    shown = rows(study, findings)
    results = study.results
    failed = [run for run in results.runs if run.state in FAILED]
    return render(
        "page.html",
        name=results.name,
        objective=results.objective,
        short_objective=clipped(results.objective),
        findings=findings,
        rows=shown,
        most=MAX_ROWS,
        pictures=[(picture, picture.svg()) for picture in drawn],
        states=Counter(run.state for run in results.runs).most_common(),
        runs=counted(len(results.runs), "run"),
        failed=failed,
        ranked=sum(map(is_ranked, results.runs)),
        tested_metric=study.tested_metric if any(row.tested for row in shown) else "",
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
    tested = _tested(study, one)
    states = " ".join(f"{count} {state}" for state, count in one.states.items())
    return [
        *(as_text(one.values[name]) if name in one.values else "" for name in names),
        one.n,
        *figures,
        "" if tested is None else repr(tested),
        "" if math.isnan(one.seconds) else f"{one.seconds:.1f}",
        " ".join(map(str, one.seeds)),
        states,
        " ".join(run.run_id for run in one.runs),
    ]
