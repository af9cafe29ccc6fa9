"""TensorBoard and Weights & Biases beside MLflow have every point of a run once."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Cli, run_process, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, STEPS, TIMES, folder_of_run, with_store
from tunebook.config.validation import SettingError
from tunebook.runs.assemble import make_tracker

pytest.importorskip("tensorboard")
pytest.importorskip("wandb")

Points = dict[str, list[tuple[int, float]]]


def points_in_tensorboard(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(folder_of_run(folder) / "loggers" / "tensorboard"), size_guidance={"scalars": 0}
    )
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def points_in_mlflow(folder: Path) -> Points:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = runs_in(folder)
    assert run.info.status == "FINISHED"
    return {
        name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def assert_equal(further: Points, mlflow: Points) -> None:
    assert further.keys() == mlflow.keys()
    for name, found in further.items():
        assert Counter(step for step, _ in found).most_common(1)[0][1] == 1, name
        assert sorted(step for step, _ in found) == sorted(step for step, _ in mlflow[name])
        values = dict(mlflow[name])
        assert [value for _, value in found] == pytest.approx(
            [values[step] for step, _ in found], rel=1e-6
        )


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(5,), (STEPS // 2, STEPS // 3)], ids=["once", "twice"])
def test_tensorboard_of_a_killed_run_has_every_step_once(
    tmp_path: Path, kills: tuple[int, ...]
) -> None:
    words = ("tracking=mlflow_tensorboard", *with_store(tmp_path))
    asked: tuple[str, ...] = RUN
    for step in kills:
        code = faults.run_train(
            (*asked, *words), tmp_path / "log.txt", faults.signal_in_training, signal.SIGKILL, step
        )
        assert code == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
        asked = ("resume=last",)
    assert faults.run_train((*asked, *words), tmp_path / "log.txt") == 0
    found = points_in_tensorboard(tmp_path)
    assert_equal(found, points_in_mlflow(tmp_path))
    assert [step for step, _ in found["val/loss"]] == [1, 2, 3]
    assert any(not name.startswith(TIMES) for name in found)


@pytest.mark.slow
def test_a_run_of_wandb_stays_on_this_machine(tmp_path: Path) -> None:
    secret = "hunter2-hunter2"
    result = run_process(
        "train.py", *RUN, "tracking=mlflow_wandb", *with_store(tmp_path), MY_API_TOKEN=secret,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "wandb:" not in result.out + result.err  # as its own lines begin
    folder = folder_of_run(tmp_path) / "loggers" / "wandb" / "wandb"
    (file,) = folder.glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert all(name in content for name in (b"val/loss", b"test/acc", b"optimizer.lr"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(secret.encode() in path.read_bytes() for path in files)
    assert not any(str(tmp_path / "mlflow.db").encode() in path.read_bytes() for path in files)


def test_a_wrong_setting_of_a_logger_is_one_line(cli: Cli, tmp_path: Path) -> None:
    result = cli(
        "train.py", *RUN, "tracking=mlflow_tensorboard", *with_store(tmp_path),
        "tracking.also.tensorboard.nmae=x",
    )  # fmt: skip
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "tracking.also.tensorboard.nmae" in result.err
    assert "Did you mean" in result.err
    assert not (tmp_path / "out").exists()


def test_other_loggers_of_lightning_are_not_trusted(cli: Cli, tmp_path: Path) -> None:
    result = cli(
        "train.py", *RUN, "tracking=mlflow_tensorboard", *with_store(tmp_path),
        "tracking.also.tensorboard._target_=pytorch_lightning.loggers.mlflow.MLFlowLogger",
    )  # fmt: skip
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "tunebook init, see docs/extending.md" in result.err


def test_a_logger_needs_the_journal_of_mlflow() -> None:
    settings = {"_target_": "tunebook.tracking.NoTracker", "also": {"mine": {"_target_": "x.Y"}}}
    with pytest.raises(SettingError, match=r"tracking.also=.*mine.*records in MLflow"):
        make_tracker(settings)
