"""From the settings of compare.py to its answer."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from tunebook.checks import InputError, Name, SettingError, conform
from tunebook.paths import why_unwritable
from tunebook.report import page, terminal
from tunebook.report.findings import Findings, findings
from tunebook.report.paired import pairs
from tunebook.report.read import Study, read_runs, read_sweep
from tunebook.tracking.store import add_artifacts, folder_name, require_store

log = logging.getLogger(__name__)

ARTIFACTS = "report"  # on the sweep's own run


def check(cfg: DictConfig, choices: object) -> None:
    """SettingError where a setting can't be used."""
    for key in ("sweep_name", "runs", "metric", "paired"):
        conform(key, None if cfg[key] is None else str(cfg[key]), Name | None)
    conform("report", cfg.report, bool)
    if cfg.sweep_name is not None and cfg.runs is not None:
        raise SettingError("runs", cfg.runs, "is for runs of any kind, and sweep for those of one: choose one of them")


def compare(cfg: DictConfig) -> None:
    """Reads the runs, prints what they say, and writes the report: as files, and on the sweep's own run."""
    uri = str(cfg.tracking.uri)
    require_store(uri)
    metric = None if cfg.metric is None else str(cfg.metric)
    if cfg.sweep_name is not None:
        study = read_sweep(uri, str(cfg.sweep_name), metric)
    elif cfg.runs is not None:
        study = read_runs(uri, None, str(cfg.runs), metric)
    else:
        study = read_runs(uri, str(cfg.experiment_name), None, metric)
    found = findings(study.results, study.fixed)
    terminal.say(study, found)
    if cfg.paired is not None:
        print("\n" + pairs(study, str(cfg.paired)).said())
    if cfg.report:
        _report(cfg, uri, study, found)


def _report(cfg: DictConfig, uri: str, study: Study, found: Findings) -> None:
    folder = Path(str(cfg.outputs)) / "reports" / folder_name(study.results.name)
    if reason := why_unwritable(folder):
        raise InputError(f"outputs={cfg.outputs}: {reason}")
    print(f"\nreport  {page.write(study, found, folder)}")
    if study.parent:
        try:
            add_artifacts(uri, study.parent, folder, ARTIFACTS)
        except Exception as error:  # whatever a store may do, the report is on disk
            log.warning("the report could not be put on the sweep's run in MLflow: %s", " ".join(str(error).split())[:200])
