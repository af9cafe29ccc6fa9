"""Write runs into a real MLflow store as train.py does, without training them."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tests.helpers.runs import with_store
from tunebook.sweeps.space import make_space

Curve = Sequence[float]


class Store:
    """Make a new MLflow store in `folder` and write runs to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.words = folder, with_store(folder)
        self.client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        self.experiment = self.client.create_experiment(
            "tunebook", artifact_location=(folder / "mlruns").as_uri()
        )

    def run(
        self, name: str, params: Mapping[str, object], curve: Curve = (), state: str = "complete",
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:  # fmt: skip
        """Store a run with its learning curve of val/acc, and return its id."""
        run_id = str(self.client.create_run(self.experiment, run_name=name).info.run_id)
        now = int(time.time() * 1000)
        points = [Metric("val/acc", value, now, epoch) for epoch, value in enumerate(curve, 1)]
        single = {"best/val_acc": max(curve)} if curve else {}
        points += [
            Metric(key, value, now, 0) for key, value in {**single, **(metrics or {})}.items()
        ]
        status = {"failed": "FAILED", "diverged": "FAILED", "killed": "KILLED"}.get(
            state, "FINISHED"
        )
        every = [
            RunTag(key, value) for key, value in {"sweep.state": state, **(tags or {})}.items()
        ]
        self.client.log_batch(
            run_id, points, [Param(key, str(value)) for key, value in params.items()], every
        )
        self.client.set_terminated(run_id, status)
        return run_id

    def sweep(self, name: str, space: Mapping[str, Any], settings: Sequence[str] = ()) -> str:
        """Store a sweep's own run, and return its id."""
        tags = {"sweep.kind": "sweep", "sweep.name": name}
        run_id = self.run(name, {"objective": "val/acc"}, tags=tags)
        dimensions = [dimension.written() for dimension in make_space([], space, {}, {}).dimensions]
        request = {
            "dimensions": dimensions,
            "settings": list(settings),
            "sweep": {"sampler": None},
            "objective": "val/acc",
        }
        self.client.log_text(run_id, json.dumps(request), "sweep/request.json")
        return run_id

    def trial(
        self,
        sweep: str,
        parent: str,
        number: int,
        params: Mapping[str, object],
        curve: Curve,
        state: str = "complete",
    ) -> str:
        """Store a trial of a sweep, and return its id."""
        tags = {"sweep.name": sweep, "sweep.trial": str(number), "mlflow.parentRunId": parent}
        return self.run(f"{number:03d}", {"objective": "val/acc", **params}, curve, state, tags)
