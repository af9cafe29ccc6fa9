"""From MLflow's runs to results: those of a sweep, of a filter, or of an experiment."""

import contextlib
import csv
import json
import logging
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as MLflowRun
from mlflow.exceptions import MlflowException
from tqdm import tqdm

from tunebook.analysis.commands import FINALIST
from tunebook.analysis.results import Results, Run, Setting, Value
from tunebook.checks import MODES, InputError, nearest
from tunebook.report.params import as_value, listed, params_of, settings_of, shared_words, values_of
from tunebook.tracking.store import open_client

log = logging.getLogger(__name__)

PAGE = 1000  # runs a request
STATES = {
    "FINISHED": "complete",
    "FAILED": "failed",
    "KILLED": "killed",
    "RUNNING": "running",
    "SCHEDULED": "running",
}
CURVES = 20  # learning curves that are read where no trial was pruned: of the best, and of those that failed
OF_A_SWEEP = re.compile(
    r"(sweep|space)(\.|$)"
)  # parameters of its own run that say how it was made
TESTED, VALIDATED = "test/acc", "val/acc"


@dataclass(frozen=True)
class Study:
    """Results and where they come from. fixed: words of the command line that all runs share; parent: id of the sweep's own run, or "".

    params: run id -> its MLflow parameters; tested: run id -> test/acc, of those that were tested. stem: what the
    names of further sweeps begin with; finalists: whether all runs are of such sweeps already.
    """

    results: Results
    fixed: tuple[str, ...]
    parent: str
    params: Mapping[str, Mapping[str, str]]
    tested: Mapping[str, float]
    stem: str
    finalists: bool = False


def read_sweep(uri: str, name: str, metric: str | None) -> Study:
    """The trials of the sweep with this name (the newest of that name), or whose own run has this id. InputError where there is none."""
    client = open_client(uri)
    parent = _sweeps_own_run(client, name)
    name = parent.data.tags["sweep.name"]
    runs = _search(
        client, [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    runs = [
        run for run in runs if run.data.tags.get("sweep.name") == name
    ]  # its winner's, with other seeds, stand there too
    asked = _request(client, parent)
    if metric is not None:
        _require(metric, runs)
    objective = metric or str(
        asked.get("objective") or parent.data.params.get("objective", "val/acc")
    )
    dimensions = _dimensions(asked)
    adaptive = "TPE" in str(asked.get("sweep", {}).get("sampler"))
    errors = _errors(client, parent)
    rows = [
        _of_sweep(run, objective, dimensions, errors.get(run.data.tags.get("sweep.trial", ""), ""))
        for run in runs
    ]
    settings = tuple(dimension.setting for dimension in dimensions) or settings_of(runs, objective)
    if not dimensions:
        rows = [_of_runs(run, objective, settings) for run in runs]
    fixed = tuple(str(word) for word in asked.get("settings", []))
    rows = _named(rows, _winner(parent) or fixed)
    rows = _with_curves(client, rows, objective)
    results = Results(
        name, objective, _direction(objective), settings, tuple(rows), adaptive, _classes(runs)
    )
    return Study(results, fixed, parent.info.run_id, _params(runs), _tested(runs), name)


def read_runs(
    uri: str, experiment: str | None, filter_text: str | None, metric: str | None
) -> Study:
    """The runs of an experiment, or of all those that MLflow's filter finds. InputError where there is none."""
    client = open_client(uri)
    experiments = list(client.search_experiments())
    if experiment is not None:
        found = [one for one in experiments if one.name == experiment]
        if not found:
            names = [one.name for one in experiments]
            hint = nearest(experiment, names)
            raise InputError(
                f"experiment_name={experiment}: no such experiment in {uri}; there are: {', '.join(names)}.{hint}"
            )
        experiments = found
    try:
        runs = _search(client, [one.experiment_id for one in experiments], filter_text or "")
    except MlflowException as error:
        raise InputError(
            f"runs={filter_text}: MLflow can't read it ({' '.join(str(error).split())[:200]})"
        ) from None
    runs = [
        run for run in runs if run.data.tags.get("sweep.kind") != "sweep"
    ]  # a sweep's own run is none
    if not runs:
        raise InputError(
            f"runs={filter_text}: finds no run"
            if filter_text
            else f"experiment_name={experiment}: has no run"
        )
    objective = metric or _objective(runs)
    _require(objective, runs)
    settings = settings_of(runs, objective)
    shared = shared_words(runs, settings)
    rows = _named([_of_runs(run, objective, settings) for run in runs], shared)
    rows = _with_curves(client, rows, objective)
    name = filter_text or str(experiment)
    results = Results(
        name, objective, _direction(objective), settings, tuple(rows), classes=_classes(runs)
    )
    stems = {str(run.data.tags.get("sweep.name", "")).partition(f" {FINALIST} ") for run in runs}
    of_finalists = len({stem for stem, _, _ in stems}) == 1 and all(found for _, found, _ in stems)
    stem = next(iter(stems))[0] if of_finalists else name
    return Study(results, shared, "", _params(runs), _tested(runs), stem, of_finalists)


def _named(rows: Sequence[Run], words: Sequence[str]) -> list[Run]:
    """Return the runs of a single configuration, in which nothing varies, with the settings that make it. words: those of its command."""
    if any(row.values for row in rows):
        return list(rows)
    return [replace(row, values=values_of(words)) for row in rows]


def _winner(parent: MLflowRun) -> tuple[str, ...]:
    """Return the settings that a final sweep has of the sweep whose winner it trains; () for any other sweep."""
    params = parent.data.params
    if params.get("sweep") != "final":
        return ()
    return tuple(
        f"{key}={value}"
        for key, value in params.items()
        if key != "objective" and not OF_A_SWEEP.match(key)
    )


def _objective(runs: Sequence[MLflowRun]) -> str:
    """Return what runs are chosen by: the validation figure that all of them name; a test figure only where there is nothing else."""
    asked = {run.data.params.get("objective", VALIDATED) for run in runs}
    objective = asked.pop() if len(asked) == 1 else VALIDATED
    known = {name for run in runs for name in run.data.metrics}
    if objective not in known and TESTED in known:
        return TESTED
    return objective


def _classes(runs: Sequence[MLflowRun]) -> int | None:
    """Return how many classes the images have, where the runs' data sets say it, and say the same."""
    found: set[int] = set()
    for run in runs:
        for one in run.inputs.dataset_inputs if run.inputs else ():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found.add(int(json.loads(str(one.dataset.profile))["classes"]))
    return found.pop() if len(found) == 1 else None


def _search(client: MlflowClient, ids: Sequence[str], text: str) -> list[MLflowRun]:
    found: list[MLflowRun] = []
    token: str | None = None
    while token is None or token:
        page = client.search_runs(
            list(ids),
            text,
            max_results=PAGE,
            page_token=token,
            order_by=["attributes.start_time ASC"],
        )
        found += [
            run for run in page if "reproduces" not in run.data.tags
        ]  # the same run again is no further seed
        token = page.token or ""
    return found


def _sweeps_own_run(client: MlflowClient, name: str) -> MLflowRun:
    """By its id, or by the sweep's name."""
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    there = _search(client, ids, "tags.`sweep.kind` = 'sweep'")
    found = [run for run in there if name in (run.info.run_id, run.data.tags.get("sweep.name"))]
    if not found:
        names = list(dict.fromkeys(run.data.tags["sweep.name"] for run in reversed(there)))
        known = f"; there are: {', '.join(names[:10])}.{nearest(name, names)}" if names else ""
        raise InputError(f"sweep={name}: there is no such sweep in MLflow{known}")
    return found[-1]


def _request(client: MlflowClient, parent: MLflowRun) -> dict[str, Any]:
    """What was asked for, as the sweep wrote it down; {} where that is not there."""
    text = _artifact(client, parent, "sweep/request.json")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _errors(client: MlflowClient, parent: MLflowRun) -> dict[str, str]:
    """Trial -> its error, as the sweep's table has it."""
    rows = csv.DictReader((_artifact(client, parent, "sweep/trials.csv") or "").splitlines())
    return {str(row.get("trial")): str(row.get("error") or "") for row in rows}


def _artifact(client: MlflowClient, run: MLflowRun, path: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run.info.run_id, path, folder)).read_text()
        except (MlflowException, OSError, UnicodeDecodeError):
            return None


@dataclass(frozen=True)
class Dimension:
    """What a sweep varied, as it wrote it down. when: (key, option) it depends on."""

    setting: Setting
    key: str
    when: tuple[str, str] | None

    def applies(self, params: Mapping[str, Value]) -> bool:
        """Whether it varies in a run with these parameters."""
        return self.when is None or str(params.get(self.when[0])) == self.when[1]


def _dimensions(asked: Mapping[str, Any]) -> tuple[Dimension, ...]:
    """Of a request. () where it does not say, or not so that it can be read."""
    try:
        return tuple(_dimension(one) for one in asked.get("dimensions", []) if one["key"] != "seed")
    except (KeyError, TypeError, ValueError) as error:
        log.warning(
            "what the sweep varied can't be read (%s: %s); it is taken from its trials",
            type(error).__name__,
            error,
        )
        return ()


def _dimension(one: Mapping[str, Any]) -> Dimension:
    name, when = str(one["name"]), one["when"]
    if one["values"] is None:
        setting = Setting(name, True, (), float(one["low"]), float(one["high"]), bool(one["log"]))
    else:
        setting = listed(name, list(one["values"]))
    return Dimension(
        setting, str(one["key"]), None if when is None else (str(when[0]), str(when[1]))
    )


def _of_sweep(run: MLflowRun, objective: str, dimensions: Sequence[Dimension], error: str) -> Run:
    params = {key: as_value(text) for key, text in params_of(run).items()}
    values = {
        one.setting.name: params[one.key]
        for one in dimensions
        if one.key in params and one.applies(params)
    }
    return _row(run, objective, values, error)


def _of_runs(run: MLflowRun, objective: str, settings: Sequence[Setting]) -> Run:
    params = params_of(run)
    return _row(
        run,
        objective,
        {one.name: as_value(params[one.name]) for one in settings if one.name in params},
        "",
    )


def _row(run: MLflowRun, objective: str, values: Mapping[str, Value], error: str) -> Run:
    info, metrics = run.info, run.data.metrics
    told = str(run.data.tags.get("sweep.state", ""))
    state = told if told and info.status != "RUNNING" else STATES.get(info.status, "running")
    best = metrics.get(f"best/{objective.replace('/', '_')}", metrics.get(objective))
    seed = run.data.params.get("seed", "")
    seconds = (
        (info.end_time - info.start_time) / 1000
        if info.end_time and info.status != "RUNNING"
        else None
    )
    found = best if best is not None and math.isfinite(best) else None
    return Run(
        info.run_id,
        info.run_name or info.run_id,
        values,
        int(seed) if seed.isdigit() else None,
        state,
        found,
        (),
        seconds,
        error,
    )


def _with_curves(client: MlflowClient, rows: Sequence[Run], objective: str) -> list[Run]:
    """Learning curves, each of which is a request: of all runs where some were pruned, else of those worth a look."""
    if objective not in MODES:
        return list(rows)
    wanted = {row.run_id for row in rows}
    if not any(row.state == "pruned" for row in rows):
        sign = 1 if _direction(objective) == "max" else -1
        ranked = sorted(
            (row for row in rows if row.objective is not None),
            key=lambda row: -sign * (row.objective or 0.0),
        )
        wanted = {
            row.run_id
            for row in [
                *ranked[:CURVES],
                *[row for row in rows if row.state not in ("complete", "running")][:CURVES],
            ]
        }
    found: list[Run] = []
    for row in tqdm(rows, "reading", disable=None, leave=False, delay=1):
        curve = _curve(client, row.run_id, objective) if row.run_id in wanted else ()
        found.append(Run(**{**vars(row), "curve": curve}))
    return found


def _curve(client: MlflowClient, run_id: str, objective: str) -> tuple[tuple[int, float], ...]:
    return tuple(
        sorted(
            (metric.step, metric.value) for metric in client.get_metric_history(run_id, objective)
        )
    )


def _direction(metric: str) -> Any:
    return "min" if metric.startswith("time/") or metric.endswith("loss") else "max"


def _params(runs: Sequence[MLflowRun]) -> dict[str, dict[str, str]]:
    return {run.info.run_id: params_of(run) for run in runs}


def _tested(runs: Sequence[MLflowRun]) -> dict[str, float]:
    return {run.info.run_id: run.data.metrics[TESTED] for run in runs if TESTED in run.data.metrics}


def _require(metric: str, runs: Sequence[MLflowRun]) -> None:
    known = sorted({name for run in runs for name in run.data.metrics})
    if known and metric not in known:
        raise InputError(
            f"metric={metric}: no run has it; there are: {', '.join(known)}.{nearest(metric, known)}"
        )
