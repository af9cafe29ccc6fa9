"""Define the initial view of MLflow's page of runs: metrics, parameters and learning curves.

By default MLflow's table shows neither metrics nor parameters, and its page opens on traces. A view
that a user shares from the UI is an experiment tag that holds compressed JSON. This module writes
such a tag, under one key. The format is MLflow's own and undocumented; a UI that can't read it
falls back on its defaults.
"""

import base64
import contextlib
import hashlib
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from tunebook.metrics.facts import (
    ALWAYS,
    LOSS,
    TESTED,
    TRAIN,
    VALIDATED,
    VALIDATION,
    best_name,
    full_name,
    tested_name,
)
from tunebook.tags import PRUNED_AT_EPOCH, SWEEP_STATE

KEY, NAME = "tunebook", "Tunebook"  # of the view of all runs of an experiment
PREFIX = "mlflow.sharedViewState."
KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"  # opens on runs, not on traces
METRICS = (TESTED, best_name(VALIDATED), full_name(VALIDATION, LOSS), "time/epoch_s")
PARAMS = ("data", "model", "optimizer", "optimizer.lr", "model.filters", "seed")
# MLflow's own status is FINISHED for a pruned trial, too.
STATE_TAGS = (SWEEP_STATE, PRUNED_AT_EPOCH)
CURVES = [full_name(split, name) for split in (VALIDATION, TRAIN) for name in ALWAYS]


def tags() -> dict[str, str]:
    """Return the experiment tags that make up the view of all the experiment's runs.

    The page `#/experiments/<id>/runs?viewStateShareKey=tunebook` opens it.
    """
    columns = _columns(METRICS, PARAMS)
    state = _state(
        "",
        "attributes.start_time",
        False,
        columns,
        [_curve(name) for name in CURVES],
        [_section("curves", "Learning curves", 3)],
    )
    return {**_tag(KEY, NAME, state), KIND_TAG: KIND}


def tags_of_sweep(
    name: str, objective: str, ascending: bool, settings: Sequence[str]
) -> dict[str, str]:
    """Return the experiment tags that make up the view of one sweep's trials, best first.

    The settings that vary are shown as columns and as parallel coordinates.
    ascending: whether the lowest value of the objective is the best.
    """
    best, tested = best_name(objective), tested_name(objective)
    metrics = [
        best,
        *(metric for metric in (tested, "best/epoch", "time/fit_s") if metric != best),
    ]
    columns = _columns(metrics, settings)
    charts = [_curve(objective), _curve(full_name(TRAIN, LOSS)), _parallel(settings, best)]
    sections = [
        _section("settings", "Settings", columns=1),
        _section("curves", "Learning curves", columns=2),
    ]
    shown = f"tags.`sweep.name` = '{name}' and tags.`sweep.trial` != ''"
    state = _state(shown, f"metrics.`{best}`", ascending, columns, charts, sections)
    return {**_tag(_key_of(name), f"sweep {name}", state), KIND_TAG: KIND}


def _columns(metrics: Sequence[str], params: Sequence[str]) -> list[str]:
    """Return MLflow's names of the columns, in order: the trial's state, metrics, parameters."""
    states = [f"tags.`{tag}`" for tag in STATE_TAGS]
    return (
        states + [f"metrics.`{name}`" for name in metrics] + [f"params.`{name}`" for name in params]
    )


def _key_of(sweep: str) -> str:
    return "sweep-" + hashlib.sha256(sweep.encode()).hexdigest()[:8]


def _tag(key: str, name: str, state: dict[str, Any]) -> dict[str, str]:
    now = int(time.time() * 1000)
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return {
        PREFIX + key: json.dumps(
            {"name": name, "createdAt": now, "updatedAt": now, "state": packed}
        )
    }


def page(experiment_id: str, key: str = KEY) -> str:
    """Return the address of the experiment's runs in this view, without the UI's root."""
    return (
        f"/#/experiments/{experiment_id}/runs?viewStateShareKey={key}&workflowType=machine_learning"
    )


def page_of_sweep(experiment_id: str, sweep: str) -> str:
    """Return the address of the view of the sweep's trials, without the UI's root."""
    return page(experiment_id, _key_of(sweep))


def pages(experiment_id: str, experiment_tags: Mapping[str, str]) -> list[tuple[int, str, str]]:
    """Return (time of creation in ms, name, page) of every view in an experiment's tags.

    Views that can't be read are left out.
    """
    found: list[tuple[int, str, str]] = []
    for tag, text in experiment_tags.items():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if tag.startswith(PREFIX):
                view = json.loads(text)
                found.append(
                    (
                        int(view["createdAt"]),
                        str(view["name"]),
                        page(experiment_id, tag.removeprefix(PREFIX)),
                    )
                )
    return found


def _state(
    shown: str,
    order: str,
    ascending: bool,
    columns: list[str],
    charts: list[dict[str, Any]],
    sections: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the state of MLflow's page that a view opens.

    shown: MLflow's filter of the runs. order: the column that the rows are sorted by.
    """
    return {
        "searchFilter": shown, "orderByKey": order, "orderByAsc": ascending,
        "startTime": "ALL", "lifecycleFilter": "Active",
        "datasetsFilter": [], "modelVersionFilter": "All Runs", "selectedColumns": columns,
        # Without an order, MLflow puts tags last, out of sight.
        "columnOrder": columns, "columnWidths": {},
        "runsHiddenMode": "FIRST_20_RUNS", "viewMaximized": False, "runListHidden": False,
        "isAccordionReordered": True, "useGroupedValuesInCharts": True, "hideEmptyCharts": True,
        "groupBy": None, "groupsExpanded": {},
        "compareRunCharts": charts, "compareRunSections": sections,
        "globalLineChartConfig": {
            "xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": "",
        },
    }  # fmt: skip


def _section(uuid: str, name: str, columns: int) -> dict[str, Any]:
    """Return a section of charts, `columns` of them side by side."""
    return {
        "uuid": uuid, "name": name, "display": True, "isReordered": True, "deleted": False,
        "isGenerated": False, "columns": columns, "cardHeight": 400,
    }  # fmt: skip


def _parallel(settings: Sequence[str], metric: str) -> dict[str, Any]:
    return {
        "uuid": "parallel", "type": "PARALLEL", "runsCountToCompare": 100,
        "metricSectionId": "settings", "deleted": False, "isGenerated": False,
        "selectedParams": list(settings), "selectedMetrics": [metric], "showAllRuns": False,
    }  # fmt: skip


def _curve(metric: str) -> dict[str, Any]:
    return {
        "uuid": metric, "type": "LINE", "runsCountToCompare": 20, "metricSectionId": "curves",
        "deleted": False, "isGenerated": False,
        "metricKey": metric, "selectedMetricKeys": [metric], "lineSmoothness": 0,
        "xAxisScaleType": "linear", "scaleType": "linear", "range": {},
        "xAxisKey": "step", "selectedXAxisMetricKey": "", "yAxisKey": "metric",
        "yAxisExpressions": [], "ignoreOutliers": False,
        "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True,
    }  # fmt: skip
