"""An MLflow run: opened, fed in batches, closed with the status that the process ends with."""

import io
import logging
import math
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

# Before mlflow is imported: no usage reports, and no progress bars of its own between ours.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from tunebook.checks import Name, SettingError, checked
from tunebook.tracking.secrets import redact
from tunebook.tracking.store import ensure_store, experiment_id

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
BATCH = 1000  # what MLflow takes in one call
SEND_EVERY_S = 1.0  # short epochs share a call
DIGITS = 7  # significant: what a float32 holds; the rest would only fill the UI's columns
SYSTEM_METRICS_EVERY_S = 10


def rounded(value: float) -> float:
    """`value` to seven significant digits: the figure that is stored, printed and compared."""
    return float(f"{value:.{DIGITS}g}")


class Tracker(Logger, ABC):
    """Where a run is written down. A Lightning logger, with the few things more that a run holds."""

    run_id = ""
    run_name = ""
    experiment_id = ""

    @property
    def name(self) -> str:
        """The run's name (Lightning's word for it)."""
        return self.run_name

    @property
    def version(self) -> str:
        """The run's id (Lightning's word for it)."""
        return self.run_id

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's parameters are logged once, from its config, by `open`."""

    @abstractmethod
    def open(self, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Starts the run."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One point a metric. step: counted in epochs from 1 where `metrics` has Lightning's "epoch" (from 0), else as given."""

    @abstractmethod
    def save_text(self, text: str, path: str) -> None:
        """A text artifact, without the secrets in it."""

    @abstractmethod
    def save_file(self, file: Path, folder: str) -> bool:
        """A file as an artifact in `folder`; True where it is kept there now."""

    @abstractmethod
    def save_figure(self, figure: Figure, path: str) -> None:
        """A picture artifact (PNG)."""

    @abstractmethod
    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """The network in MLflow's pt2 format: images -> class probabilities. example: at least two images (B, C, H, W)."""

    @abstractmethod
    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """A data set as an input of the run."""

    @abstractmethod
    def close(self, status: Status) -> None:
        """Sends what is left and ends the run."""


class NoTracker(Tracker):
    """Writes nothing anywhere."""

    def open(self, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Keeps the name, for the summary."""
        self.run_name = name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Nothing."""

    def save_text(self, text: str, path: str) -> None:
        """Nothing."""

    def save_file(self, file: Path, folder: str) -> bool:
        """Nothing: the file stays where it is."""
        return False

    def save_figure(self, figure: Figure, path: str) -> None:
        """Nothing."""

    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """Nothing."""

    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """Nothing."""

    def close(self, status: Status) -> None:
        """Nothing."""


class MLflowTracker(Tracker):
    """A run in an MLflow store: a sqlite file (created safely where there is none) or a tracking server."""

    @checked
    def __init__(self, uri: Name, system_metrics: bool) -> None:
        super().__init__()
        if "://" not in uri and uri != "databricks":
            raise SettingError("uri", uri, "must be an address such as sqlite:////path/to/mlflow.db or http://host:5000")
        self.uri, self.system_metrics = uri, system_metrics
        self._points: list[Metric] = []
        self._sent_at = 0.0
        self._monitor: Any = None

    def open(self, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Creates the store and the experiment where needed, and the run with its parameters and tags."""
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        ensure_store(self.uri)
        self.client = MlflowClient(self.uri)
        self.experiment_id = experiment_id(self.client, experiment, self.uri)
        run = self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags))
        self.run_id, self.run_name = run.info.run_id, name
        self.client.log_batch(self.run_id, params=[Param(key, redact(str(value))) for key, value in params.items()])
        if self.system_metrics:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                self.run_id, sampling_interval=SYSTEM_METRICS_EVERY_S, tracking_uri=self.uri
            )
            self._monitor.start()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Kept until a second has passed since the last call to the store, then sent together."""
        metrics = dict(metrics)
        epoch = metrics.pop("epoch", None)
        step = int(epoch) + 1 if epoch is not None else step or 0
        now = int(time.time() * 1000)
        self._points += [Metric(name, rounded(float(value)), now, step) for name, value in metrics.items() if not math.isnan(value)]
        if time.monotonic() - self._sent_at >= SEND_EVERY_S:
            self._send()

    def _send(self) -> None:
        while self._points:
            self.client.log_batch(self.run_id, metrics=self._points[:BATCH])
            del self._points[:BATCH]  # only what was taken: an error above loses nothing
        self._sent_at = time.monotonic()

    def save_text(self, text: str, path: str) -> None:
        """A text artifact, without the secrets in it."""
        self.client.log_text(self.run_id, redact(text), path)

    def save_file(self, file: Path, folder: str) -> bool:
        """A copy of the file."""
        self.client.log_artifact(self.run_id, str(file), folder)
        return True

    def save_figure(self, figure: Figure, path: str) -> None:
        """A picture artifact (PNG, 100 dots an inch)."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=100)
            file.write_bytes(buffer.getvalue())
            self.client.log_artifact(self.run_id, str(file), str(Path(path).parent))

    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """As an MLflow model `runs:/<run id>/model`, with signature and input example; any batch size, nothing pickled."""
        import mlflow
        import mlflow.pytorch
        from mlflow.models import infer_signature

        model = nn.Sequential(network, nn.Softmax(dim=1)).cpu().float().eval()  # eval: else dropout would be frozen on
        with torch.no_grad():
            signature = infer_signature(example.numpy(), model(example).numpy())
        mlflow.set_tracking_uri(self.uri)
        with mlflow.start_run(run_id=self.run_id, log_system_metrics=False):
            mlflow.pytorch.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example.numpy(),
                pip_requirements=[f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
                serialization_format="pt2",
            )

    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """As an MLflow input, tagged with its context (training, validation, testing)."""
        dataset = Dataset(name=name, digest=digest, source_type="local", source=source, profile=profile)
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Lightning calls this at the end of every fit and test: what is waiting is sent, and the run goes on."""
        self._send()

    def close(self, status: Status) -> None:
        """Stops the system metrics, sends what is left, and ends the run."""
        try:
            if self._monitor is not None:
                self._monitor.finish()
            self._send()
        finally:
            self.client.set_terminated(self.run_id, status)
