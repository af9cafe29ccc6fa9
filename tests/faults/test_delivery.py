"""Everything reaches MLflow exactly once, despite faults, and training never waits for it."""

import os
import signal
import sqlite3
import time
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import Cli, artifacts_of, in_folder, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, folder_of_run, with_store
from tests.helpers.servers import Server
from tunebook.run_folder import RunFolder
from tunebook.tracking import MLflowTracker, journal
from tunebook.tracking.uploader import JOURNAL

TOLD = {"train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc"}


def lock(folder: Path) -> sqlite3.Connection:
    """Lock the store against all other writers until the connection is closed."""
    with_store(folder)
    connection = sqlite3.connect(folder / "mlflow.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def store_in(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def points_of(uri: str, run: Run) -> dict[str, list[tuple[int, float]]]:
    client = MlflowClient(uri)
    return {
        name: [
            (metric.step, metric.value)
            for metric in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


def assert_delivered_once(uri: str, run: Run, run_folder: Path) -> None:
    """Assert that the store at `uri` has every point of the journal exactly once."""
    told = Counter(
        (name, step, value)
        for record, _ in journal.read(run_folder / JOURNAL) if record["kind"] == "points"
        for name, value, _, step in record["points"]
    )  # fmt: skip
    found = Counter(
        (name, step, value)
        for name, points in points_of(uri, run).items()
        for step, value in points
    )
    assert found == told
    assert set(told.values()) == {1}


@pytest.mark.slow
def test_a_locked_store_costs_nothing(cli: Cli, tmp_path: Path) -> None:
    """A run under a locked store finishes with a warning, and sync.py delivers it later."""
    connection = lock(tmp_path)
    log = tmp_path / "log.txt"
    assert faults.run_train((*RUN, *with_store(tmp_path), "tracking.patience_s=1"), log) == 0, (
        log.read_text()
    )
    assert "make sync delivers it" in log.read_text()
    assert not runs_in(tmp_path)
    connection.close()
    result = cli("sync.py", *with_store(tmp_path))
    assert (result.code, result.out) == (0, "1 run delivered, 0 not delivered\n")
    (run,) = runs_in(tmp_path)
    assert run.info.status == "FINISHED"
    assert set(run.data.metrics) >= TOLD
    assert artifacts_of(tmp_path, run) >= {
        "checkpoints/last.ckpt",
        "log/train.log",
        "log/journal.jsonl",
        "config/config.yaml",
    }
    assert_delivered_once(store_in(tmp_path), run, folder_of_run(tmp_path))
    assert cli("sync.py", *with_store(tmp_path)).out == "0 runs delivered, 0 not delivered\n"


def test_what_a_killed_run_leaves_the_next_start_delivers(tmp_path: Path) -> None:
    """The next run delivers the points and the status of a run killed before any delivery."""
    connection = lock(tmp_path)
    log = tmp_path / "log.txt"
    arguments = (*RUN, *with_store(tmp_path))
    assert (
        faults.run_train(arguments, log, faults.signal_in_training, signal.SIGKILL, 25)
        == -signal.SIGKILL
    )
    first = folder_of_run(tmp_path)
    connection.close()
    assert faults.run_train((*arguments, "seed=1"), log) == 0, log.read_text()
    (killed,) = [run for run in runs_in(tmp_path) if run.info.status == "KILLED"]
    assert {
        name: [step for step, _ in points]
        for name, points in points_of(store_in(tmp_path), killed).items()
    }["val/acc"] == [1, 2]
    assert_delivered_once(store_in(tmp_path), killed, first)
    assert {run.info.status for run in runs_in(tmp_path)} == {"KILLED", "FINISHED"}


@pytest.mark.slow
def test_ten_runs_that_begin_at_once_lose_nothing(tmp_path: Path) -> None:
    """Ten runs that start together in a new experiment of one SQLite file all arrive.

    All of them insert the rows of the experiment and of the data sets at the same moment.
    """
    with_store(tmp_path)
    count = 10
    barrier = faults.FORKSERVER.Barrier(count)
    processes = [
        faults.FORKSERVER.Process(target=tell_a_run, args=(tmp_path, number, barrier))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * count
    runs = runs_in(tmp_path)
    assert sorted(run.data.params["number"] for run in runs) == sorted(
        str(number) for number in range(count)
    )
    for run in runs:
        assert run.info.status == "FINISHED"
        assert {given.tags[0].value for given in run.inputs.dataset_inputs} == {
            "training",
            "validation",
            "test",
        }
        assert_delivered_once(store_in(tmp_path), run, tmp_path / run.data.params["number"])


def tell_a_run(folder: Path, number: int, barrier: Barrier) -> None:
    own = RunFolder(folder / str(number), folder / "out", uri=store_in(folder))
    own.open()
    tracker = MLflowTracker(
        own.uri, system_metrics=False, save_model=False, save_pictures=False, patience_s=60
    )
    barrier.wait(60)
    tracker.open(own)
    tracker.describe("all at once", f"run {number}", {"number": str(number)}, {})
    for part in ("training", "validation", "test"):
        tracker.log_dataset("digits", part, "{}", "sklearn", part)
    for step in range(50):
        tracker.log_metrics({"a": step, "b": -step}, step=step)
    assert tracker.close("FINISHED")


@pytest.mark.slow
def test_telling_takes_no_time_while_the_store_is_locked(tmp_path: Path) -> None:
    connection = lock(tmp_path)
    folder = RunFolder(tmp_path / "run", tmp_path / "out", uri=f"sqlite:///{tmp_path}/mlflow.db")
    folder.open()
    tracker = MLflowTracker(
        folder.uri, system_metrics=False, save_model=False, save_pictures=False, patience_s=0
    )
    tracker.open(folder)
    tracker.describe("e", "n", {}, {})
    longest = 0.0
    for step in range(400):
        start = time.perf_counter()
        tracker.log_metrics({"a": step, "b": -step}, step=step)
        longest = max(longest, time.perf_counter() - start)
        time.sleep(0.005)
    assert longest < 0.05
    assert tracker.close("FINISHED") is False
    connection.close()


@pytest.mark.parametrize("count", [1, 4, 11])
def test_a_kill_between_two_deliveries_doubles_nothing(
    cli: Cli, tmp_path: Path, count: int
) -> None:
    """A kill after a delivery and before its bookkeeping duplicates nothing."""
    log = tmp_path / "log.txt"
    code = faults.run_train((*RUN, *with_store(tmp_path)), log, kill_before_remembering, count)
    assert code == -signal.SIGKILL, log.read_text()
    cli("sync.py", *with_store(tmp_path))
    (run,) = runs_in(tmp_path)
    assert run.info.status in ("KILLED", "FINISHED")
    assert_delivered_once(store_in(tmp_path), run, folder_of_run(tmp_path))


def kill_before_remembering(count: int) -> None:
    from tunebook.tracking.uploader import Delivery

    faults.at_call(Delivery, "_remember", count, faults.send(signal.SIGKILL))


def test_a_second_start_leaves_a_living_run_alone(cli: Cli, tmp_path: Path) -> None:
    process = faults.start_train(
        (*RUN, *with_store(tmp_path), "trainer.max_epochs=1000"), tmp_path / "log.txt"
    )
    try:
        faults.wait_for(lambda: (tmp_path / "mlflow.db").exists() and runs_in(tmp_path))
        assert cli("sync.py", *with_store(tmp_path)).out == "0 runs delivered, 0 not delivered\n"
        result = cli("train.py", "resume=last", *with_store(tmp_path))
        assert result.code == 2
        assert "is still running, as process" in result.err
        assert [run.info.status for run in runs_in(tmp_path)] == ["RUNNING"]
    finally:
        assert process.pid
        os.kill(process.pid, signal.SIGTERM)
        process.join()
    assert [run.info.status for run in runs_in(tmp_path)] == ["KILLED"]


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("fedcba987654", "was created by a newer MLflow than the one installed here"),
        ("181f10493468", "mlflow db upgrade"),
    ],
)
def test_a_store_of_another_mlflow_is_refused_at_start(
    cli: Cli, tmp_path: Path, revision: str, said: str
) -> None:
    with_store(tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    refused(cli, tmp_path, said)


@pytest.mark.parametrize("content", [b"not a database, but a text of some length", b"\0" * 200])
def test_a_file_that_is_no_store_is_refused_at_start(
    cli: Cli, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    refused(cli, tmp_path, "is not an MLflow store")


def refused(cli: Cli, folder: Path, said: str) -> None:
    result = cli("train.py", *RUN, *in_folder(folder))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert said in result.err
    assert [path.name for path in folder.iterdir() if "mlflow.db" not in path.name] == []


def test_an_experiment_cannot_leave_the_store(cli: Cli, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    name = "../../x y=1,'ü'"
    result = cli(
        "train.py",
        *RUN,
        *in_folder(inner),
        f"experiment_name='{name}'".replace("'ü'", "\\'ü\\'"),
        "trainer.max_epochs=1",
    )
    assert result.code == 0, result.err
    (run,) = runs_in(inner)
    assert run.info.status == "FINISHED"
    assert "checkpoints/last.ckpt" in artifacts_of(inner, run)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert {path.name for path in inner.iterdir()} <= {
        "mlflow.db",
        "mlflow.db-wal",
        "mlflow.db-shm",
        ".mlflow.db.lock",
        "mlruns",
        "out",
    }


@pytest.mark.slow
def test_a_server_that_comes_late_and_is_killed_in_the_middle(tmp_path: Path) -> None:
    """Everything arrives once at a server that starts late, is killed and starts again."""
    server = Server(tmp_path)
    log = tmp_path / "log.txt"
    arguments = (
        *RUN,
        "trainer.max_epochs=600",
        f"outputs={tmp_path}/out",
        f"tracking.uri={server.uri}",
        "tracking.patience_s=90",
    )
    process = faults.start_train(arguments, log)
    try:
        faults.wait_for(lambda: log.exists() and "epoch   3/600" in log.read_text())
        faults.wait_for(lambda: "MLflow is unreachable; buffering" in log.read_text())
        server.start()
        client = MlflowClient(server.uri)
        (run,) = faults.wait_for(
            lambda: [
                r
                for e in client.search_experiments()
                for r in client.search_runs([e.experiment_id])
            ],
            90,
        )
        server.stop(signal.SIGKILL)
        epochs = log.read_text().count("\n")
        faults.wait_for(lambda: log.read_text().count("\n") > epochs + 20)
        server.start()
        process.join(400)
        assert process.exitcode == 0, log.read_text()[-2000:]
        (run,) = [
            r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])
        ]
        assert run.info.status == "FINISHED"
        assert_delivered_once(server.uri, run, folder_of_run(tmp_path))
    finally:
        if process.is_alive():
            process.kill()
        server.stop()


@pytest.mark.slow
def test_a_server_that_stays_away(cli: Cli, tmp_path: Path) -> None:
    """A run without a server exits with 0 and a warning, and sync.py delivers it later."""
    server = Server(tmp_path)
    log = tmp_path / "log.txt"
    places = (f"outputs={tmp_path}/out", f"tracking.uri={server.uri}")
    assert faults.run_train((*RUN, *places, "tracking.patience_s=1"), log) == 0, log.read_text()
    assert "make sync delivers it" in log.read_text()
    with server:
        assert cli("sync.py", *places).out == "1 run delivered, 0 not delivered\n"
        client = MlflowClient(server.uri)
        (run,) = [
            r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])
        ]
        assert run.info.status == "FINISHED"
        assert_delivered_once(server.uri, run, folder_of_run(tmp_path))


@pytest.mark.slow
def test_a_store_that_is_locked_for_a_minute(tmp_path: Path) -> None:
    connection = lock(tmp_path)
    log = tmp_path / "log.txt"
    process = faults.start_train((*RUN, *with_store(tmp_path), "tracking.patience_s=90"), log)
    time.sleep(60)
    connection.close()
    process.join(90)
    assert process.exitcode == 0, log.read_text()
    (run,) = runs_in(tmp_path)
    assert run.info.status == "FINISHED"
    assert_delivered_once(store_in(tmp_path), run, folder_of_run(tmp_path))
