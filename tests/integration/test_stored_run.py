"""Find earlier runs by each of their names."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from tests.conftest import Cli, Finished
from tunebook.config.validation import InputError
from tunebook.runs.stored_run import StoredRun
from tunebook.tracking.run_lookup import AmbiguousRun
from tunebook.tracking.store import RunNotFound


def uri_of(finished: Finished) -> str:
    return f"sqlite:///{finished.folder}/mlflow.db"


@pytest.fixture(scope="module")
def registered(finished: Finished) -> Iterator[str]:
    """Register the model of the run as version 1 of `digits`, with the alias `champion`."""
    client = MlflowClient(uri_of(finished))
    outputs = client.get_run(finished.run.info.run_id).outputs
    assert outputs is not None
    model: LoggedModel = client.get_logged_model(outputs.model_outputs[0].model_id)
    client.create_registered_model("digits")
    client.create_model_version("digits", model.artifact_location, run_id=finished.run.info.run_id)
    client.set_registered_model_alias("digits", "champion", "1")
    yield "digits"
    with contextlib.suppress(Exception):
        client.delete_registered_model("digits")


class TestNames:
    @pytest.mark.parametrize("name", ["models:/digits/1", "models:/digits@champion"])
    def test_a_registered_model(self, finished: Finished, registered: str, name: str) -> None:
        assert StoredRun.find(name, uri_of(finished)).run_id == finished.run.info.run_id

    def test_a_registered_model_is_evaluated(
        self, finished: Finished, registered: str, cli: Cli
    ) -> None:
        result = cli("evaluate.py", "run=models:/digits/1", f"tracking.uri={uri_of(finished)}")
        assert result.code == 0, result.err
        assert result.out.count("the same as recorded") == 2

    @pytest.mark.parametrize("name", ["models:/digit/1", "models:/digits/7", "models:/digits@x"])
    def test_no_such_model_names_those_that_there_are(
        self, finished: Finished, registered: str, cli: Cli, name: str
    ) -> None:
        result = cli("evaluate.py", f"run='{name}'", f"tracking.uri={uri_of(finished)}")
        assert result.code == 2
        (line,) = result.err.splitlines()
        assert line.startswith(f"error: run={name}: no such registered model in")
        assert "there are: digits" in line

    def test_a_folder_knows_its_mlflow_run(self, finished: Finished) -> None:
        folder = Path(finished.run.data.tags["folder"])
        stored = StoredRun.find(str(folder), uri_of(finished))
        assert stored.folder == folder
        assert stored.run_id == finished.run.info.run_id
        assert stored.status == "FINISHED"
        assert stored.metrics == finished.run.data.metrics
        assert stored.settings["model.filters"] == "16"

    def test_outputs_come_before_the_tracking_store(self, finished: Finished) -> None:
        outputs = finished.folder / "out"
        for name in ("last", finished.run.info.run_id, finished.run.data.tags["tunebook.key"]):
            stored = StoredRun.find(name, "", outputs)
            assert stored.folder == Path(finished.run.data.tags["folder"]).resolve()

    def test_a_run_of_another_machine_has_no_folder(
        self, finished: Finished, tmp_path: Path
    ) -> None:
        stored = StoredRun.find(finished.run.info.run_id, uri_of(finished), tmp_path)
        assert (stored.folder, stored.run_id) == (None, finished.run.info.run_id)
        assert stored.weights("tested", tmp_path).name == "last.ckpt"
        assert set(stored.history("val/acc")) == {1, 2}


class TestWhereThereIsNone:
    def test_nothing_is_tracked(self, tmp_path: Path) -> None:
        with pytest.raises(RunNotFound, match=r"^resume=x: there is no such run$"):
            StoredRun.find("x", "", tmp_path, "resume")

    def test_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(RunNotFound):
            StoredRun.find("x", f"sqlite:///{tmp_path}/none.db")

    def test_a_checkpoint_alone_is_no_run_in_mlflow(
        self, finished: Finished, tmp_path: Path
    ) -> None:
        file = tmp_path / "last.ckpt"
        file.write_bytes(b"")
        stored = StoredRun.find(str(file), uri_of(finished))
        assert stored.weights("tested", tmp_path) == file
        with pytest.raises(InputError, match="is no run in MLflow"):
            stored.metrics  # noqa: B018

    def test_a_folder_without_its_record(self, tmp_path: Path) -> None:
        (tmp_path / "checkpoints").mkdir()
        stored = StoredRun.find(str(tmp_path), "", setting="resume")
        with pytest.raises(InputError, match=r"its run\.json is not readable"):
            stored.read_folder()


def test_several_runs_of_a_name(finished: Finished) -> None:
    client = MlflowClient(uri_of(finished))
    experiment = finished.run.info.experiment_id
    twins = [client.create_run(experiment, run_name="twin").info.run_id for _ in range(2)]
    try:
        with pytest.raises(AmbiguousRun, match="matches several runs"):
            StoredRun.find("twin", uri_of(finished))
    finally:
        for run_id in twins:
            client.delete_run(run_id)
