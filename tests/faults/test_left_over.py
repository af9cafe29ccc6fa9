"""Whatever a killed run leaves behind is delivered completely.

The kills come in the closing phase and before the first checkpoint, and several processes
resume or deliver the same run.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.conftest import Cli, artifacts_of, runs_in
from tests.faults.test_delivery import assert_delivered_once, lock, store_in
from tests.helpers import faults
from tests.helpers.runs import RUN, Outcome, folder_of_run, outcome, with_store
from tests.helpers.strangers import make_half, tell
from tunebook.config.validation import InputError
from tunebook.run_folder import PENDING, RUNS, RunFolder, acquire, release
from tunebook.tracking.arrived import DELIVERED


def kill_once_there_is(outputs: str, pattern: str) -> None:
    """Kill this process as soon as its run's folder has a file that matches."""

    def watch() -> None:
        while not any(Path(outputs).glob(f"2*/*/{pattern}")):
            time.sleep(0.0002)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def kill_at_the_end_of(moment: str) -> None:
    """Kill this process when its log is saved, or when the end of its run is recorded as well."""
    from tunebook.tracking import MLflowTracker

    owner = {"log": MLflowTracker, "end": RunFolder}[moment]
    faults.at_call(owner, "close", 1, faults.send(signal.SIGKILL))


def assert_nothing_is_pending(folder: Path) -> None:
    assert [path.name for path in (folder / "out" / PENDING).iterdir()] == []


# By a thread that waits for a file where there is time for that; else at a call, since a thread
# could come too late.
CLOSING = [
    (kill_at_the_end_of, "log"),
    (kill_at_the_end_of, "end"),
    pytest.param(kill_once_there_is, "model/MLmodel", marks=pytest.mark.slow),
    pytest.param(kill_once_there_is, "artifacts/config/requirements.txt", marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kill", "at"), CLOSING)
def test_a_kill_in_the_closing_phase_jams_nothing(
    cli: Cli, tmp_path: Path, kill: Callable[..., None], at: str
) -> None:
    """A run that is killed in its closing phase and resumed is delivered once.

    The store is locked meanwhile, so the resumed run records its model and files again.
    """
    connection = lock(tmp_path)
    log = tmp_path / "log.txt"
    words = (*RUN, "tracking.save_model=true", "tracking.patience_s=0", *with_store(tmp_path))
    where = (f"{tmp_path}/out", at) if kill is kill_once_there_is else (at,)
    assert faults.run_train(words, log, kill, *where) == -signal.SIGKILL, log.read_text()
    if kill is kill_at_the_end_of:
        assert (folder_of_run(tmp_path) / "artifacts" / "log" / "train.log").exists()
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 0, log.read_text()
    connection.close()
    assert cli("sync.py", *with_store(tmp_path)).out == "1 run delivered, 0 not delivered\n"
    (run,) = runs_in(tmp_path)
    assert run.info.status == "FINISHED"
    assert artifacts_of(tmp_path, run) >= {
        "checkpoints/last.ckpt",
        "log/train.log",
        "log/journal.jsonl",
        "config/requirements.txt",
    }
    assert len(run.outputs.model_outputs) == 1
    assert_delivered_once(store_in(tmp_path), run, folder_of_run(tmp_path))
    assert_nothing_is_pending(tmp_path)


def test_a_model_that_is_half_gone_does_not_hold_up_the_rest(cli: Cli, tmp_path: Path) -> None:
    folder = make_half(tmp_path)
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("no model")
    tell(
        folder,
        {"kind": "model", "folder": "model", "name": "model"},
        {"kind": "tags", "tags": {"behind": "it"}},
    )
    result = cli("sync.py", *with_store(tmp_path))
    assert result.out.endswith("1 run delivered, 0 not delivered\n")
    assert "skipped: model: its MLmodel can't be read" in result.out
    (run,) = runs_in(tmp_path)
    assert (run.info.status, run.data.tags["behind"]) == ("KILLED", "it")


def test_what_was_given_up_is_said_once(cli: Cli, tmp_path: Path) -> None:
    folder = make_half(tmp_path)
    tell(
        folder,
        *({"kind": "tags", "tags": {"x" * 300: str(number)}} for number in range(3)),
        {"kind": "tags", "tags": {"behind": "it"}},
    )
    said, told = cli("sync.py", *with_store(tmp_path)).out.splitlines()
    assert said.startswith("3 records of")
    assert told == "1 run delivered, 0 not delivered"
    (run,) = runs_in(tmp_path)
    assert run.data.tags["behind"] == "it"


@pytest.mark.slow
def test_a_finished_run_that_is_trained_on_tells_its_model_again(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert faults.run_train((*RUN, "tracking.save_model=true", *with_store(tmp_path)), log) == 0, (
        log.read_text()
    )
    more = ("resume=last", "trainer.max_epochs=4", "resume_changes=true", *with_store(tmp_path))
    assert faults.run_train(more, log) == 0, log.read_text()
    assert "SQL" not in log.read_text()
    assert "skipped" not in log.read_text()
    (run,) = runs_in(tmp_path)
    assert len(run.outputs.model_outputs) == 1


@pytest.mark.slow
def test_of_two_that_resume_one_works(tmp_path: Path) -> None:
    """Of three processes that resume a run at the same moment, only one works."""
    make_half(tmp_path, "trainer.max_epochs=30")
    logs = [tmp_path / f"{number}.txt" for number in range(3)]
    processes = [faults.start_train(("resume=last", *with_store(tmp_path)), log) for log in logs]
    for process in processes:
        process.join(180)
    assert sorted(process.exitcode or 0 for process in processes) == [0, 2, 2]
    for process, log in zip(processes, logs, strict=True):
        if process.exitcode == 2:
            (line,) = [text for text in log.read_text().splitlines() if text.startswith("error:")]
            assert any(
                said in line
                for said in (
                    "another process is using this run's folder",
                    "is still running",
                    "finished",
                )
            )
            assert "Traceback" not in log.read_text()
    (run,) = runs_in(tmp_path)
    assert run.info.status == "FINISHED"
    assert_delivered_once(store_in(tmp_path), run, folder_of_run(tmp_path))


def hold(folder: str, ready: str) -> None:
    acquire(Path(folder))
    Path(ready).touch()
    time.sleep(60)


def test_a_folder_s_lock_ends_with_its_process_and_keeps_others_out(
    cli: Cli, tmp_path: Path
) -> None:
    folder = make_half(tmp_path)
    process = faults.FORKSERVER.Process(target=hold, args=(str(folder), str(tmp_path / "ready")))
    process.start()
    faults.wait_for((tmp_path / "ready").exists)
    result = cli("train.py", f"resume={folder}", *with_store(tmp_path))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "another process is using this run's folder" in result.err
    assert cli("sync.py", *with_store(tmp_path)).out == "0 runs delivered, 0 not delivered\n"
    process.kill()
    process.join()
    acquire(folder, patience_s=1)
    release(folder)


@pytest.mark.slow
def test_two_that_deliver_at_once_double_nothing(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        make_half(tmp_path / str(number))
        shutil.copytree(
            tmp_path / str(number) / "out", tmp_path / "out", dirs_exist_ok=True, symlinks=True
        )
    pending = tmp_path / "out" / PENDING
    for link in list(pending.iterdir()):
        here = tmp_path / "out" / link.resolve().relative_to(link.resolve().parents[1])
        link.unlink()
        link.symlink_to(here)
        folder = RunFolder.read(here)
        folder.uri = store_in(tmp_path)
        folder.write()
        (here / DELIVERED).unlink(missing_ok=True)
    with_store(tmp_path)
    processes = [faults.FORKSERVER.Process(target=sync, args=(str(tmp_path),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    runs = runs_in(tmp_path)
    assert [run.info.status for run in runs] == ["KILLED"] * 3
    for run in runs:
        (folder,) = [
            path.parent
            for path in (tmp_path / "out").glob("2*/*/run.json")
            if RunFolder.read(path.parent).key == run.data.tags["tunebook.key"]
        ]
        assert_delivered_once(store_in(tmp_path), run, folder)
    assert_nothing_is_pending(tmp_path)


def sync(folder: str) -> None:
    from tunebook.tracking.uploader import upload_pending

    assert not upload_pending(Path(folder) / "out", store_in(Path(folder))).problems


def test_a_run_that_another_process_has_finished_is_not_worked_on_again(tmp_path: Path) -> None:
    """A process that has waited for a run's lock reads the run's state again."""
    first = RunFolder(tmp_path / "run", tmp_path / "out")
    first.open()
    late = RunFolder.read(first.path)
    first.close("FINISHED")
    with pytest.raises(InputError, match="another process has already finished this run"):
        late.open()
    again = RunFolder.read(first.path)  # as resume_changes=true does
    again.open()
    again.close("FINISHED")


def test_a_run_is_found_however_early_it_is_killed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", tmp_path / "out")
    link, found = tmp_path / "out" / RUNS / folder.key, []
    write = folder.write
    folder.write = lambda: (found.append(link.is_symlink()), write())  # type: ignore[method-assign, assignment, func-returns-value]
    folder.open()
    folder.close("KILLED")
    assert found[0]


def kill_before_the_first_checkpoint(moment: str) -> None:
    from tunebook.runs import record
    from tunebook.tracking import MLflowTracker
    from tunebook.training import CheckpointCallback

    owner, name = {
        "described": (CheckpointCallback, "setup"),
        "opened": (MLflowTracker, "open"),
        "told": (record, "save_inputs"),
        "half described": (MLflowTracker, "log_dataset"),
        "saving": (CheckpointCallback, "save"),
    }[moment]
    faults.at_call(owner, name, 1, faults.send(signal.SIGKILL))


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "opened",
        "half described",
        "saving",
        *(pytest.param(moment, marks=pytest.mark.slow) for moment in ("told", "described")),
    ],
)
@pytest.mark.parametrize("by", ["last", pytest.param("folder", marks=pytest.mark.slow)])
def test_a_kill_before_the_first_checkpoint(
    cli: Cli, undisturbed: Callable[..., Outcome], tmp_path: Path, moment: str, by: str
) -> None:
    """A run killed before its first checkpoint starts again in its folder, as the same run."""
    log = tmp_path / "log.txt"
    assert (
        faults.run_train(
            (*RUN, *with_store(tmp_path)), log, kill_before_the_first_checkpoint, moment
        )
        == -signal.SIGKILL
    )
    folder = folder_of_run(tmp_path)
    key = RunFolder.read(folder).key
    refused = cli("train.py", "resume=last", "optimizer.lr=0.5", *with_store(tmp_path))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "leave out optimizer.lr=0.5" in refused.err
    name = "last" if by == "last" else f"{folder}"
    assert faults.run_train((f"resume={name}", *with_store(tmp_path)), log) == 0, log.read_text()
    assert folder_of_run(tmp_path) == folder
    (run,) = runs_in(tmp_path)
    assert run.data.tags["tunebook.key"] == key == RunFolder.read(folder).key
    assert outcome(tmp_path).differences(undisturbed()) == []
    assert_nothing_is_pending(tmp_path)
    assert artifacts_of(tmp_path, run) >= {"config/config.yaml", "config/overrides.yaml"}
    assert len(run.inputs.dataset_inputs) == 3
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    path = client.download_artifacts(run.info.run_id, "config/overrides.yaml", str(tmp_path))
    assert yaml.safe_load(Path(path).read_text()) == [*RUN, *with_store(tmp_path)]
    assert RunFolder.read(folder).name == run.info.run_name


def test_where_it_goes_on_is_said(tmp_path: Path) -> None:
    # The 18th step is in the second epoch: the first has 11 steps and 1 validation batch.
    make_half(tmp_path)
    log = tmp_path / "resumed.txt"
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 0, log.read_text()
    assert "resuming at epoch 2 of 3, after step 17 (6 of this epoch's 11)" in log.read_text()
