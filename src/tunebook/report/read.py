"""Read runs from MLflow as results: those of a sweep, of a filter, or of an experiment."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlflow import MlflowClient
from mlflow.entities import Run as MLflowRun
from mlflow.exceptions import MlflowException
from tqdm import tqdm

from tunebook.analysis.commands import FINALIST
from tunebook.analysis.results import IMAGES, Results, Run, Setting, Value
from tunebook.config.roles import FOLD, FOLDS, SEED
from tunebook.config.validation import InputError, suggest
from tunebook.metrics.facts import (
    LOWER_TAG,
    METRICS,
    TESTED,
    TIMES,
    VALIDATED,
    VALIDATION,
    Direction,
    best_name,
    facts_of,
    short_name,
    split_of,
    tested_name,
)
from tunebook.report import own_images, sweep_record
from tunebook.report.intervals import intervals_of
from tunebook.report.own_images import with_images
from tunebook.report.params import as_value, params_of, settings_of, shared_overrides, values_of
from tunebook.tags import REPRODUCES, SWEEP_KIND, SWEEP_NAME, SWEEP_STATE, SWEEP_TRIAL
from tunebook.tracking.store import open_client

PAGE = 1000  # runs per request
STATES = {
    "FINISHED": "complete",
    "FAILED": "failed",
    "KILLED": "killed",
    "RUNNING": "running",
    "SCHEDULED": "running",
}
# Learning curves that are read if no run was pruned: of the best runs, and of those that failed.
CURVES = 20


@dataclass(frozen=True)
class ComparedRuns:
    """Hold results and where they come from.

    fixed: overrides that all runs share.
    parent: the id of the sweep's parent run, or "".
    params: run id -> its MLflow parameters.
    tested: run id -> its value of `tested_metric`, for runs that were tested.
    stem: the beginning of the names of further sweeps.
    finalists: whether all runs belong to such sweeps for finalists.
    tested_metric: the test metric by which the runs are reported beside the objective.
    images: the name of images -> overrides that say where they are, if the runs differ in them.
    intervals: run id -> the 95 % interval of `tested_metric` over test images, where recorded.
    going_on: the words that continue the sweep's search, without a budget; () if there are none.
    """

    results: Results
    fixed: tuple[str, ...]
    parent: str
    params: Mapping[str, Mapping[str, str]]
    tested: Mapping[str, float]
    stem: str
    finalists: bool = False
    tested_metric: str = TESTED
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    going_on: tuple[str, ...] = ()


def read_sweep(uri: str, name: str, metric: str | None) -> ComparedRuns:
    """Return the trials of the sweep with this name, or whose parent run has this id.

    If several sweeps have the name, the newest is used. Raise InputError if there is none.
    """
    client = open_client(uri)
    parent = _sweeps_own_run(client, name)
    name = parent.data.tags[SWEEP_NAME]
    runs = _search(
        client, [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    # The runs of its winner with other seeds have the same parent.
    runs = [run for run in runs if run.data.tags.get(SWEEP_NAME) == name]
    asked = sweep_record.request(client, parent)
    if metric is not None:
        _require(metric, runs)
    objective = metric or str(
        asked.get("objective") or parent.data.params.get("objective", VALIDATED)
    )
    adaptive = sweep_record.is_adaptive(asked)
    errors = sweep_record.errors(client, parent)
    rows, settings = _trials(runs, objective, sweep_record.dimensions(asked), errors)
    images = own_images.images_of(runs)
    rows, settings = with_images(rows, images), (*settings, *own_images.setting(images))
    fixed = tuple(str(word) for word in asked.get("settings", []))
    rows = _named(rows, sweep_record.winner(parent) or fixed)
    direction = _direction(objective, runs)
    rows = _with_curves(client, rows, objective, direction)
    results = Results(name, objective, direction, settings, tuple(rows), adaptive, _classes(runs))
    metric = _tested_metric(runs, objective)
    tested, params = _values(runs, metric), _params(runs, images)
    # A command that trains on the user's own images must say where they are.
    whole = (*fixed, str(asked["images"])) if "images" in asked else fixed
    places = own_images.overrides(runs, images)
    intervals = intervals_of(runs, metric)
    return ComparedRuns(
        results, whole, parent.info.run_id, params, tested, name, False, metric, places, intervals,
        sweep_record.going_on(parent, name, asked),
    )  # fmt: skip


def _trials(
    runs: Sequence[MLflowRun],
    objective: str,
    dimensions: Sequence[sweep_record.VariedSetting],
    errors: Mapping[str, str],
) -> tuple[list[Run], tuple[Setting, ...]]:
    """Return a sweep's trials and the settings that vary.

    dimensions: those that the sweep recorded, if any. errors: trial -> its error.
    """
    if not dimensions:
        settings = settings_of(runs, objective)
        return [_of_runs(run, objective, settings) for run in runs], settings
    rows = [
        _of_sweep(run, objective, dimensions, errors.get(run.data.tags.get(SWEEP_TRIAL, ""), ""))
        for run in runs
    ]
    return rows, tuple(dimension.setting for dimension in dimensions)


def read_runs(
    uri: str, experiment: str | None, filter_text: str | None, metric: str | None
) -> ComparedRuns:
    """Return the runs of an experiment, or all those that match MLflow's filter.

    Raise InputError if there is none.
    """
    client = open_client(uri)
    ids = _experiment_ids(client, uri, experiment)
    try:
        runs = _search(client, ids, filter_text or "")
    except MlflowException as error:
        raise InputError(
            f"runs={filter_text}: MLflow rejects the filter ({' '.join(str(error).split())[:200]})"
        ) from None
    # A sweep's parent run is not one of its trials.
    runs = [run for run in runs if run.data.tags.get(SWEEP_KIND) != "sweep"]
    if not runs:
        raise InputError(
            f"runs={filter_text}: no run matches"
            if filter_text
            else f"experiment_name={experiment}: has no runs"
        )
    objective = metric or _objective(runs)
    _require(objective, runs)
    settings, images = settings_of(runs, objective), own_images.images_of(runs)
    shared = shared_overrides(runs, settings)
    rows = with_images([_of_runs(run, objective, settings) for run in runs], images)
    rows = _named(rows, shared)
    settings = (*settings, *own_images.setting(images))
    direction = _direction(objective, runs)
    rows = _with_curves(client, rows, objective, direction)
    name = filter_text or str(experiment)
    results = Results(name, objective, direction, settings, tuple(rows), classes=_classes(runs))
    stems = {str(run.data.tags.get(SWEEP_NAME, "")).partition(f" {FINALIST} ") for run in runs}
    of_finalists = len({stem for stem, _, _ in stems}) == 1 and all(found for _, found, _ in stems)
    stem = next(iter(stems))[0] if of_finalists else name
    metric = _tested_metric(runs, objective)
    tested, params = _values(runs, metric), _params(runs, images)
    places, intervals = own_images.overrides(runs, images), intervals_of(runs, metric)
    return ComparedRuns(
        results, shared, "", params, tested, stem, of_finalists, metric, places, intervals
    )


def _experiment_ids(client: MlflowClient, uri: str, experiment: str | None) -> list[str]:
    """Return the id of the experiment with this name, or the ids of all for None.

    Raise InputError if there is no such experiment.
    """
    experiments = list(client.search_experiments())
    if experiment is not None:
        found = [one for one in experiments if one.name == experiment]
        if not found:
            names = [one.name for one in experiments]
            hint = suggest(experiment, names)
            raise InputError(
                f"experiment_name={experiment}: no such experiment in {uri}; "
                f"available: {', '.join(names)}.{hint}"
            )
        experiments = found
    return [one.experiment_id for one in experiments]


def _named(rows: Sequence[Run], words: Sequence[str]) -> list[Run]:
    """Return the runs; if no setting varies among them, with the settings in `words`.

    words: the overrides of their command.
    """
    if any(row.values for row in rows):
        return list(rows)
    return [replace(row, values=values_of(words)) for row in rows]


def _objective(runs: Sequence[MLflowRun]) -> str:
    """Return the metric by which runs are compared.

    It is the validation metric that is the objective of all runs. It is a test metric only if there
    is nothing else.
    """
    asked = {run.data.params.get("objective", VALIDATED) for run in runs}
    objective = asked.pop() if len(asked) == 1 else VALIDATED
    known = {name for run in runs for name in run.data.metrics}
    if objective not in known and TESTED in known:
        return TESTED
    return objective


def _classes(runs: Sequence[MLflowRun]) -> int | None:
    """Return the number of classes of the images, as recorded in the runs' data sets.

    None if it is not recorded, or differs among the runs.
    """
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
        # A reproduction repeats the same run, and is not another seed.
        found += [run for run in page if REPRODUCES not in run.data.tags]
        token = page.token or ""
    return found


def _sweeps_own_run(client: MlflowClient, name: str) -> MLflowRun:
    """Return a sweep's parent run, found by its id or by the sweep's name."""
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    sweeps = _search(client, ids, "tags.`sweep.kind` = 'sweep'")
    found = [run for run in sweeps if name in (run.info.run_id, run.data.tags.get(SWEEP_NAME))]
    if not found:
        names = list(dict.fromkeys(run.data.tags[SWEEP_NAME] for run in reversed(sweeps)))
        known = f"; available: {', '.join(names[:10])}.{suggest(name, names)}" if names else ""
        raise InputError(f"sweep={name}: no such sweep in MLflow{known}")
    return found[-1]


def _of_sweep(
    run: MLflowRun, objective: str, dimensions: Sequence[sweep_record.VariedSetting], error: str
) -> Run:
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
    recorded = str(run.data.tags.get(SWEEP_STATE, ""))
    state = (
        recorded if recorded and info.status != "RUNNING" else STATES.get(info.status, "running")
    )
    best = metrics.get(best_name(objective), metrics.get(objective))
    seed, fold, folds = (
        int(text) if (text := run.data.params.get(key, "")).isdigit() else None
        for key in (SEED, FOLD, FOLDS)
    )
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
        seed,
        state,
        found,
        (),
        seconds,
        error,
        fold if folds else None,
        folds,
    )


def _with_curves(
    client: MlflowClient, rows: Sequence[Run], objective: str, direction: Direction
) -> list[Run]:
    """Return the runs with their learning curves, each of which takes a request.

    They are read for all runs if some were pruned, otherwise for the best runs and the failed
    ones.
    """
    if split_of(objective) != VALIDATION:
        return list(rows)
    wanted = {row.run_id for row in rows}
    if not any(row.state == "pruned" for row in rows):
        sign = 1 if direction == "max" else -1
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


def _direction(metric: str, runs: Sequence[MLflowRun]) -> Direction:
    """Return "max" if a higher value is better, else "min"; of unknown metrics, the runs say so."""
    name = short_name(metric)
    if name in METRICS or metric.startswith(TIMES):
        return facts_of(metric).direction
    lower = {name for run in runs for name in run.data.tags.get(LOWER_TAG, "").split()}
    return "min" if name in lower else "max"


def _params(runs: Sequence[MLflowRun], images: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return run id -> its parameters, with its images among them if the runs differ in these."""
    return {
        run.info.run_id: params_of(run)
        | ({IMAGES: images[run.info.run_id]} if run.info.run_id in images else {})
        for run in runs
    }


def _tested_metric(runs: Sequence[MLflowRun], objective: str) -> str:
    """Return the test metric by which the runs are reported beside their objective."""
    metric = tested_name(objective)
    return metric if any(metric in run.data.metrics for run in runs) else TESTED


def _values(runs: Sequence[MLflowRun], metric: str) -> dict[str, float]:
    """Return the value of a metric for each run that has one, by the run's id."""
    return {run.info.run_id: run.data.metrics[metric] for run in runs if metric in run.data.metrics}


def _require(metric: str, runs: Sequence[MLflowRun]) -> None:
    known = sorted({name for run in runs for name in run.data.metrics})
    if known and metric not in known:
        raise InputError(
            f"metric={metric}: no run has this metric; "
            f"available: {', '.join(known)}.{suggest(metric, known)}"
        )
