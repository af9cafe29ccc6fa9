"""Check faults of real jobs: signals, full disks, NaN losses, changed settings, secrets."""

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.conftest import Cli, artifacts_of, in_folder, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, Outcome, folder_of_run, outcome, with_store
from tests.integration.test_sweep import children, figures
from tunebook.sweeps.executors import local
from tunebook.task import ClassificationTask
from tunebook.training.checkpoint import read

SECRET = "hunter2-hunter2"


def slow_step(count: int) -> None:
    faults.at_call(ClassificationTask, "training_step", count, lambda: time.sleep(30))


@pytest.mark.parametrize(
    "trial", [0, *(pytest.param(trial, marks=pytest.mark.slow) for trial in range(1, 10))]
)
def test_a_second_ctrl_c_ends_at_once_and_the_next_start_puts_the_status_right(
    cli: Cli, tmp_path: Path, trial: int
) -> None:
    log = tmp_path / "log.txt"
    process = faults.start_train((*RUN, *with_store(tmp_path)), log, slow_step, 13 + trial)
    assert process.pid
    faults.wait_for(lambda: log.exists() and "epoch 1/3" in log.read_text())
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    faults.wait_for(lambda: "once more to stop at once" in log.read_text())
    start = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert time.monotonic() - start < 1
    assert process.exitcode == 130
    cli("sync.py", *with_store(tmp_path))
    (run,) = runs_in(tmp_path)
    assert run.info.status == "KILLED"


def test_a_loss_that_is_no_number_keeps_the_last_finite_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert faults.run_train((*RUN, *with_store(tmp_path)), log, faults.nothing_finite, 21) == 1
    (run,) = runs_in(tmp_path)
    assert run.info.status == "FAILED"
    # The 21st loss: that of the check, 18 training steps and a validation come before it.
    assert "the loss became nan at step 18, epoch 2" in log.read_text()
    content = read(folder_of_run(tmp_path) / "checkpoints" / "last.ckpt")
    assert content["global_step"] == 18
    assert all(bool(torch.isfinite(value).all()) for value in content["state_dict"].values())
    assert "log/traceback.txt" in artifacts_of(tmp_path, run)


def limit_files(begin: int, end: int, size: int) -> None:
    """Limit the size of files between two training steps, as a full disk would.

    begin, end: the numbers of the steps. size: in bytes.
    """

    def limit(bytes_allowed: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (bytes_allowed, resource.RLIM_INFINITY)
        )

    faults.at_call(ClassificationTask, "training_step", begin, limit(size))
    faults.at_call(ClassificationTask, "training_step", end, limit(resource.RLIM_INFINITY))


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while(
    undisturbed: Callable[..., Outcome], tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    assert faults.run_train((*RUN, *with_store(tmp_path)), log, limit_files, 5, 30, 4000) == 0, (
        log.read_text()
    )
    assert log.read_text().count("no checkpoint could be written") == 1
    assert "not saved" not in log.read_text()
    assert outcome(tmp_path).differences(undisturbed()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MB and yield its path."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill_disk(begin: int, end: int, disk: Path) -> None:
    """Leave no free space on a disk between two training steps."""
    file = disk / "everything else"

    def fill() -> None:
        with contextlib.suppress(OSError), file.open("wb", buffering=0) as full:
            while full.write(b"x" * 4096):
                pass

    faults.at_call(ClassificationTask, "training_step", begin, fill)
    faults.at_call(ClassificationTask, "training_step", end, file.unlink)


def test_a_file_system_that_is_full_for_a_while(
    undisturbed: Callable[..., Outcome], tmp_path: Path, small_disk: Path
) -> None:
    log = tmp_path / "log.txt"
    code = faults.run_train(
        (*RUN, *with_store(tmp_path), f"outputs={small_disk}/out"),
        log,
        fill_disk,
        5,
        30,
        small_disk,
    )
    assert code == 0, log.read_text()
    assert "no checkpoint could be written (No space left on device)" in log.read_text()
    assert "not saved" not in log.read_text()
    assert outcome(tmp_path).differences(undisturbed()) == []


@pytest.mark.parametrize("key", ["outputs", "data.root", "tracking.uri"])
def test_a_file_system_that_is_read_only(
    cli: Cli, tmp_path: Path, small_disk: Path, key: str
) -> None:
    """A read-only file system is refused in one line before anything is written.

    Permissions do not show it: root may write anywhere else.
    """
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    value = f"sqlite:///{small_disk}/mlflow.db" if key == "tracking.uri" else f"{small_disk}/there"
    result = cli("train.py", *in_folder(tmp_path), "debug=quick", f"{key}={value}")
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert "Read-only file system" in result.err
    assert [path for path in tmp_path.iterdir() if path != small_disk] == []


@pytest.mark.slow
def test_a_disk_that_stays_full_is_said_at_the_end(
    undisturbed: Callable[..., Outcome], tmp_path: Path
) -> None:
    """A run whose end can't be recorded is not finished, and is resumed once there is space."""
    log = tmp_path / "log.txt"
    code = faults.run_train(
        (*RUN, *with_store(tmp_path), "tracking.patience_s=1"), log, limit_files, 25, 1000, 4000
    )
    assert code == 1, log.read_text()
    assert "the last checkpoint was not saved" in log.read_text()
    assert (
        log.read_text()
        .splitlines()[-1]
        .startswith("error: OSError: [Errno 28] the disk is too full to record the end of the run")
    )
    found = [
        read(file)["global_step"]
        for file in folder_of_run(tmp_path).glob("checkpoints/*.ckpt")
        if file.name != "best.ckpt"
    ]
    assert max(found) >= 22
    words = ("resume=last", *with_store(tmp_path), "tracking.patience_s=30")
    assert faults.run_train(words, log) == 0, log.read_text()
    assert outcome(tmp_path).differences(undisturbed()) == []


def test_a_damaged_checkpoint_is_said_and_the_one_before_used(
    undisturbed: Callable[..., Outcome], tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    assert (
        faults.run_train(
            (*RUN, *with_store(tmp_path)), log, faults.signal_in_training, signal.SIGKILL, 20
        )
        == -signal.SIGKILL
    )
    last = folder_of_run(tmp_path) / "checkpoints" / "last.ckpt"
    data = bytearray(last.read_bytes())
    data[len(data) // 3] ^= 1
    last.write_bytes(data)
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 0, log.read_text()
    assert "last.ckpt: is damaged" in log.read_text()
    assert outcome(tmp_path).differences(undisturbed()) == []


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("half")
    assert (
        faults.run_train(
            (*RUN, *with_store(folder)),
            folder / "log.txt",
            faults.signal_in_training,
            signal.SIGKILL,
            18,
        )
        == -9
    )
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.lr=0.5", "optimizer.lr: 1.0 -> 0.5"),
        ("data.batch_size=64", "data.batch_size: 128 -> 64"),
        ("data=mnist", "data: digits -> mnist"),
        ("seed=7", "seed: 1337 -> 7"),
        ("model.filters=8", "model.filters: 4 -> 8"),
        ("optimizer=adam", "optimizer: adadelta -> adam"),
        ("augmentation=affine", "augmentation: none -> affine"),
        ("trainer.max_epochs=5", "trainer.max_epochs: 3 -> 5"),
    ],
)
def test_a_changed_setting_is_never_silent(cli: Cli, half: Path, change: str, said: str) -> None:
    result = cli("train.py", "resume=last", change, *with_store(half))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert said in result.err
    assert "resume_changes=true" in result.err


def test_a_changed_number_of_threads_is_never_silent(half: Path) -> None:
    log = half / "threads.txt"
    assert faults.run_train(("resume=last", *with_store(half)), log, torch.set_num_threads, 3) == 2
    assert "-> 3" in log.read_text()
    assert "threads: " in log.read_text()


def test_a_changed_network_is_not_gone_on_with(cli: Cli, half: Path) -> None:
    result = cli(
        "train.py", "resume=last", "model.filters=8", "resume_changes=true", *with_store(half)
    )
    assert result.code == 2
    assert "contains another network" in result.err


def test_a_change_that_is_asked_for_is_applied_and_logged(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    arguments = (*RUN, "scheduler=cosine", *with_store(tmp_path))
    assert faults.run_train(arguments, log, faults.signal_in_training, signal.SIGKILL, 18) == -9
    changes = (
        "optimizer.lr=0.25",
        "data.batch_size=64",
        "trainer.max_epochs=4",
        "resume_changes=true",
    )
    assert faults.run_train(("resume=last", *changes, *with_store(tmp_path)), log) == 0, (
        log.read_text()
    )
    assert "changed: optimizer.lr: 1.0 -> 0.25" in log.read_text()
    (run,) = runs_in(tmp_path)
    assert "data.batch_size: 128 -> 64" in run.data.tags["resumed.changes"]
    assert run.data.metrics["best/epoch"] <= 4
    assert "epoch 4/4" in log.read_text()


@pytest.mark.slow
def test_a_finished_run_is_trained_on_where_that_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert faults.run_train((*RUN, *with_store(tmp_path)), log) == 0, log.read_text()
    result = cli("train.py", "resume=last", *with_store(tmp_path))
    assert result.code == 2
    assert (
        "the run is finished; trainer.max_epochs=<more> resume_changes=true trains it on"
        in result.err
    )
    for epochs in (4, 5):  # the second call changes the first one's run
        more = ("resume=last", f"trainer.max_epochs={epochs}", "resume_changes=true")
        assert faults.run_train((*more, *with_store(tmp_path)), log) == 0, log.read_text()
        assert f"trainer.max_epochs: {epochs - 1} -> {epochs}" in log.read_text()
        (run,) = runs_in(tmp_path)
        assert run.info.status == "FINISHED"
    assert log.read_text().count("epoch 3/") == 1
    assert log.read_text().count("epoch 5/5") == 1


@pytest.mark.parametrize("name", ["nothing", "../..", "0" * 32, "a=b", "/nowhere"])
def test_a_run_that_is_not_there_is_said(cli: Cli, tmp_path: Path, name: str) -> None:
    result = cli("train.py", f"resume='{name}'", *in_folder(tmp_path))
    assert result.code == 2
    assert result.err.startswith(f"error: resume={name}: no such run")
    assert not any(tmp_path.iterdir())


def a_secret_in_the_environment() -> None:
    os.environ |= {"MY_API_TOKEN": SECRET, "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    """A run, a multirun and a run that fails write no secret.

    It is in the environment, in an override and in the store's address.
    """
    places = (
        f"outputs={tmp_path}/out",
        f"tracking.uri=http://user:{SECRET}@127.0.0.1:9",
        "tracking.patience_s=0",
    )
    name = f"experiment_name={SECRET}"
    for number, arguments in enumerate(
        (("trainer.max_epochs=1",), ("-m", "seed=1"), ("optimizer=sgd", "optimizer.lr=1e30"))
    ):
        faults.run_train(
            (*RUN, *arguments, name, *places),
            tmp_path / f"{number}.txt",
            a_secret_in_the_environment,
        )
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_of_twelve_trials_three_fail_and_nine_are_as_ever(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twelve trials one raises, one is killed, one diverges, and nine are unchanged."""
    arguments = ("-m", *RUN, "trainer.max_epochs=2", "seed=range(12)")
    folders = tmp_path / "well", tmp_path / "faulty"
    for folder in folders:
        folder.mkdir()
    assert cli("train.py", *arguments, *with_store(folders[0])).code == 0
    monkeypatch.setattr(local, "work", partial(faults.faulty_work, (0, 1, 2)))
    assert cli("train.py", *arguments, *with_store(folders[1])).code == 1
    well, faulty = (
        {run.data.tags["sweep.trial"]: run for run in children(folder).values()}
        for folder in folders
    )
    assert {
        number: run.data.tags["sweep.state"] for number, run in faulty.items() if int(number) < 3
    } == {"0": "failed", "1": "killed", "2": "diverged"}
    for number in map(str, range(3, 12)):
        assert figures(faulty[number]) == figures(well[number])


@pytest.mark.slow
@pytest.mark.parametrize("at", ["record", "folder", "end"])
def test_a_trial_that_was_done_before_it_was_killed_is_done(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(local, "work", partial(faults.killed_while_closing, at))
    result = cli("train.py", "-m", *RUN, "trainer.max_epochs=2", "seed=1,2", *with_store(tmp_path))
    assert result.code == 0, result.out
    assert {run.data.tags["sweep.state"] for run in children(tmp_path).values()} == {"complete"}
    assert all("test/acc" in run.data.metrics for run in children(tmp_path).values())


@pytest.mark.slow
def test_two_sweeps_that_start_together_do_not_touch_each_other(tmp_path: Path) -> None:
    """Two sweeps that share a store and a folder of outputs do not affect each other."""
    with_store(tmp_path)
    logs = tmp_path / "a.txt", tmp_path / "b.txt"
    sweeps = [
        faults.start_train(
            (
                "-m",
                *RUN,
                "trainer.max_epochs=1",
                f"optimizer={optimizer}",
                "seed=1,2",
                *with_store(tmp_path),
            ),
            log,
        )
        for optimizer, log in zip(("adam", "sgd"), logs, strict=True)
    ]
    for sweep, log in zip(sweeps, logs, strict=True):
        sweep.join(180)
        assert sweep.exitcode == 0, log.read_text()
    runs = runs_in(tmp_path)
    parents = {run.info.run_id for run in runs if run.data.tags.get("sweep.kind") == "sweep"}
    trials = [run for run in runs if "sweep.trial" in run.data.tags]
    assert len(parents) == 2
    assert sorted((run.data.params["optimizer"], run.data.params["seed"]) for run in trials) == [
        ("adam", "1"), ("adam", "2"), ("sgd", "1"), ("sgd", "2"),
    ]  # fmt: skip
    assert (
        len({(run.data.params["optimizer"], run.data.tags["mlflow.parentRunId"]) for run in trials})
        == 2
    )
