"""Read a finished run back from MLflow: its tags, its metrics and its artifacts."""

from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tunebook.tracking.store import RunNotFound, open_client, require_store


class FinishedRun:
    """Give access to the content of an MLflow run.

    Raises RunNotFound if there is no such store or run.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri, self.run_id = uri, run_id
        require_store(uri)
        try:
            self.run: Run = open_client(uri).get_run(run_id)
        except MlflowException:
            raise RunNotFound(f"run={run_id}: no such run in {uri}") from None

    @property
    def tags(self) -> dict[str, str]:
        """Return the run's tags."""
        return dict(self.run.data.tags)

    @property
    def metrics(self) -> dict[str, float]:
        """Return the last value of each metric."""
        return dict(self.run.data.metrics)

    def history(self, metric: str) -> dict[int, float]:
        """Return the value of a metric at each step."""
        return {
            point.step: point.value
            for point in open_client(self.uri).get_metric_history(self.run_id, metric)
        }

    @property
    def digests(self) -> dict[str, str]:
        """Return the digest of each part of the data.

        The keys are the purposes of the parts: training, validation, testing.
        """
        inputs = self.run.inputs.dataset_inputs if self.run.inputs else []
        return {
            tag.value: str(used.dataset.digest)
            for used in inputs
            for tag in used.tags
            if tag.key == "mlflow.data.context"
        }

    def download(self, artifact: str, folder: Path) -> Path:
        """Download an artifact to `folder`, and return the path of the file.

        Raises RunNotFound if the run has no such artifact.
        """
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
