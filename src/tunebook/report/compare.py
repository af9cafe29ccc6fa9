"""Run compare.py, from its settings to its report."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tunebook.analysis.commands import Start
from tunebook.analysis.findings import Findings, findings
from tunebook.redaction import redact
from tunebook.report import page, terminal
from tunebook.report.paired import pairs
from tunebook.report.read import ComparedRuns, read_runs, read_sweep
from tunebook.report.requested_runs import RequestedRuns
from tunebook.tracking.run_lookup import find_sweep
from tunebook.tracking.store import add_artifacts, folder_name, require_store

log = logging.getLogger(__name__)

ARTIFACTS = "report"  # artifact folder of the sweep's parent run


def compare(requested: RequestedRuns, paired: str | None, reports: Path | None) -> None:
    """Print the findings about the runs, and write the report.

    The report is written to the folder `reports` and to the sweep's parent run in MLflow.
    """
    study = read_study(requested)
    in_pairs = None if paired is None else pairs(study, paired)
    found = findings(study.results, start=start_of(study, sys.argv[1:]))
    terminal.print_findings(study, found)
    if in_pairs is not None:
        print("\n" + in_pairs.text())
    if reports is not None:
        _report(requested.uri, study, found, reports / folder_name(study.results.name))


def read_study(requested: RequestedRuns) -> ComparedRuns:
    """Return the requested runs."""
    uri, runs, metric = requested.uri, requested.runs, requested.metric
    require_store(uri)
    if requested.sweep is not None:
        return read_sweep(uri, find_sweep(uri, requested.sweep).run_id, metric)
    return read_runs(uri, None if runs is not None else requested.experiment, runs, metric)


def start_of(study: ComparedRuns, words: Sequence[str]) -> Start:
    """Return what suggested commands start from.

    words: the arguments of this call.
    """
    continues = any(word.startswith("sweep.name=") for word in study.going_on)
    return Start(
        study.stem, study.fixed, places(words), study.finalists, study.images, study.going_on,
        len(study.results.runs) if continues else 0,
    )  # fmt: skip


def places(words: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of this call that say where the runs are.

    The suggested commands get them, too.
    """
    return tuple(redact(word) for word in words if word.startswith(("tracking.", "outputs=")))


def _report(uri: str, study: ComparedRuns, found: Findings, folder: Path) -> None:
    print(f"\nreport  {page.write(study, found, folder)}")
    if study.parent:
        upload(uri, lambda: study.parent, folder)


def upload(uri: str, parent: Callable[[], str], folder: Path, below: str = "") -> None:
    """Log the files of a report as artifacts of a sweep's parent run; log a warning if that fails.

    parent: returns the id of the run. below: the folder within the artifact folder of reports.
    """
    try:
        add_artifacts(uri, parent(), folder, f"{ARTIFACTS}/{below}".rstrip("/"))
    except Exception as error:  # the report is on disk, whatever MLflow raises
        log.warning(
            "the report could not be uploaded to the sweep's run in MLflow: %s",
            " ".join(str(error).split())[:200],
        )
