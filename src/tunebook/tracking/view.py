"""What MLflow's page of runs opens on: figures and settings as columns, and learning curves.

MLflow's own table shows neither metrics nor parameters, and its page opens on traces. A view that a user shares from the UI is an
experiment tag holding compressed JSON; this writes such a tag, under one key. The format is MLflow's own and undocumented: a UI
that can't read it falls back on its own defaults.
"""

import base64
import json
import time
import zlib
from typing import Any

KEY = "tunebook"
TAG = f"mlflow.sharedViewState.{KEY}"
KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"  # opens on runs, not on traces
METRICS = ("test/acc", "best/val_acc", "val/loss", "time/epoch_s")
PARAMS = ("data", "model", "optimizer", "optimizer.lr", "model.filters", "seed")
CURVES = ("val/acc", "val/loss", "train/acc", "train/loss")


def tags() -> dict[str, str]:
    """The experiment's tags that make the view. `#/experiments/<id>/runs?viewStateShareKey=tunebook` opens it."""
    now = int(time.time() * 1000)
    state = "deflate;" + base64.b64encode(zlib.compress(json.dumps(_state()).encode())).decode()
    return {TAG: json.dumps({"name": "Tunebook", "createdAt": now, "updatedAt": now, "state": state}), KIND_TAG: KIND}


def page(experiment_id: str) -> str:
    """Where a UI shows the experiment's runs in this view, from its root."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}&workflowType=machine_learning"


def _state() -> dict[str, Any]:
    section = {"uuid": "curves", "name": "Learning curves", "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    columns = [f"metrics.`{name}`" for name in METRICS] + [f"params.`{name}`" for name in PARAMS]
    return {
        "searchFilter": "", "orderByKey": "attributes.start_time", "orderByAsc": False, "startTime": "ALL", "lifecycleFilter": "Active",
        "datasetsFilter": [], "modelVersionFilter": "All Runs", "selectedColumns": columns, "columnOrder": [], "columnWidths": {},
        "runsHiddenMode": "FIRST_20_RUNS", "viewMaximized": False, "runListHidden": False, "isAccordionReordered": True,
        "useGroupedValuesInCharts": True, "hideEmptyCharts": True, "groupBy": None, "groupsExpanded": {},
        "compareRunCharts": [_curve(name) for name in CURVES], "compareRunSections": [section],
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }  # fmt: skip


def _curve(metric: str) -> dict[str, Any]:
    return {
        "uuid": metric, "type": "LINE", "runsCountToCompare": 20, "metricSectionId": "curves", "deleted": False, "isGenerated": False,
        "metricKey": metric, "selectedMetricKeys": [metric], "lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear",
        "range": {}, "xAxisKey": "step", "selectedXAxisMetricKey": "", "yAxisKey": "metric", "yAxisExpressions": [],
        "ignoreOutliers": False, "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True,
    }  # fmt: skip
