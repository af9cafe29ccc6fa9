"""Train a small run whose whole outcome can be compared to the bit."""

import atexit
import functools
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from tests.conftest import in_folder, runs_in
from tunebook.tracking.store import ensure_store
from tunebook.training.checkpoint import read

RUN = (
    "data=digits", "trainer=cpu", "model.filters=4", "trainer.max_epochs=3", "data.batch_size=128",
    "tracking.system_metrics=false", "tracking.save_model=false", "tracking.save_pictures=false",
    "checkpoint_every_s=0.001",
)  # fmt: skip
STEPS, VALIDATIONS = 33, 3  # training batches and validation batches of the run above
# The files that this run moves into place, at least: 34 checkpoints, each of which but the first
# also moves the one before.
SAVES = 70
TIMES = ("time/", "speed/", "system/")


@functools.cache
def _template() -> Path:
    """Return an empty store, made once since that takes longer than a small run."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    ensure_store(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


def with_store(folder: Path) -> tuple[str, ...]:
    """Put an empty store into `folder` and return overrides that keep everything there."""
    if not (folder / "mlflow.db").exists():
        shutil.copy(_template(), folder / "mlflow.db")
    return in_folder(folder)


@dataclass(frozen=True)
class Outcome:
    """Hold what must be equal to the bit."""

    weights: dict[str, torch.Tensor]
    optimizer: Any
    metrics: dict[str, list[tuple[int, float]]]

    def differences(self, other: "Outcome") -> list[str]:
        found = [
            name
            for name, value in self.weights.items()
            if not torch.equal(value, other.weights[name])
        ]
        found += [
            name
            for name in {**self.metrics, **other.metrics}
            if self.metrics.get(name) != other.metrics.get(name)
        ]
        for i, state in self.optimizer.items():
            found += [
                f"{i}.{key}"
                for key, value in state.items()
                if not torch.equal(torch.as_tensor(value), torch.as_tensor(other.optimizer[i][key]))
            ]
        return found


def outcome(folder: Path) -> Outcome:
    """Return the outcome of the only run in a folder's store.

    Assert that the run is finished and that no point of a metric is there twice.
    """
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = runs_in(folder)
    assert run.info.status == "FINISHED"
    content = read(
        Path(client.download_artifacts(run.info.run_id, "checkpoints/last.ckpt", str(folder)))
    )
    metrics = {}
    for name in run.data.metrics:
        points = [
            (metric.step, metric.value)
            for metric in client.get_metric_history(run.info.run_id, name)
        ]
        assert Counter(step for step, _ in points).most_common(1)[0][1] == 1, (
            f"{name} has a point twice: {points}"
        )
        if not name.startswith(TIMES):
            metrics[name] = sorted(points)
    return Outcome(content["state_dict"], content["optimizer_states"][0]["state"], metrics)


def folder_of_run(folder: Path) -> Path:
    (found,) = (folder / "out").glob("2*/*/run.json")
    return found.parent
