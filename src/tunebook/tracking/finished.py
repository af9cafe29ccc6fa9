"""A finished run, read back: its config, its figures, its checkpoints."""

from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tunebook.tracking.store import RunNotFound, open_client, require_store


class FinishedRun:
    """What an MLflow run holds. Raises RunNotFound."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri, self.run_id = uri, run_id
        require_store(uri)
        try:
            self.run: Run = open_client(uri).get_run(run_id)
        except MlflowException:
            raise RunNotFound(f"run={run_id}: no such run in {uri}") from None

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags."""
        return dict(self.run.data.tags)

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        return dict(self.run.data.metrics)

    def history(self, metric: str) -> dict[int, float]:
        """Step -> value, of each point of a metric."""
        return {
            point.step: point.value
            for point in open_client(self.uri).get_metric_history(self.run_id, metric)
        }

    @property
    def digests(self) -> dict[str, str]:
        """What each part of the data was for (training, validation, testing) -> its digest."""
        inputs = self.run.inputs.dataset_inputs if self.run.inputs else []
        return {
            tag.value: str(used.dataset.digest)
            for used in inputs
            for tag in used.tags
            if tag.key == "mlflow.data.context"
        }

    def download(self, artifact: str, folder: Path) -> Path:
        """An artifact as a file in `folder`."""
        try:
            return Path(
                download_artifacts(
                    run_id=self.run_id,
                    artifact_path=artifact,
                    dst_path=str(folder),
                    tracking_uri=self.uri,
                )
            )
        except (MlflowException, OSError):
            raise RunNotFound(f"run={self.run_id}: has no {artifact} (did it finish?)") from None
