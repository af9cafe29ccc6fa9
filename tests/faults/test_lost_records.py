"""A run whose journal or store is lost, wholly or in part, is recorded again."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, runs_in
from tests.faults.test_delivery import lock
from tests.faults.test_left_over import assert_nothing_is_pending
from tests.helpers import faults
from tests.helpers.runs import RUN, Outcome, folder_of_run, outcome, with_store
from tests.helpers.strangers import make_half
from tunebook.tracking.arrived import JOURNAL

CUTS = ["gone", "empty", "a third", "in a line", "all but the first line"]


def cut(file: Path, how: str) -> None:
    data = file.read_bytes()
    lines = data.splitlines(keepends=True)
    if how == "gone":
        file.unlink()
        return
    kept = {
        "empty": b"",
        "a third": b"".join(lines[: len(lines) // 3]),
        "in a line": data[: len(data) // 2],
        "all but the first line": lines[0],
    }
    file.write_bytes(kept[how])


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        CUTS[0],
        CUTS[2],
        *(pytest.param(how, marks=pytest.mark.slow) for how in (CUTS[1], *CUTS[3:])),
    ],
)
def test_a_journal_that_was_cut_is_told_again(
    cli: Cli, undisturbed: Callable[..., Outcome], tmp_path: Path, how: str
) -> None:
    """A resumed run records again what its journal has lost, and no point is there twice.

    More was delivered than the journal still has. The checkpoint has the epochs so far.
    """
    folder = make_half(tmp_path, step=26)
    assert cli("sync.py", *with_store(tmp_path)).code == 0
    cut(folder / JOURNAL, how)
    log = tmp_path / "log.txt"
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 0, log.read_text()
    assert "a part that was delivered is missing" in log.read_text()
    assert outcome(tmp_path).differences(undisturbed()) == []
    assert len(runs_in(tmp_path)) == 1
    assert_nothing_is_pending(tmp_path)


@pytest.mark.parametrize("how", ["gone", "empty", pytest.param("headless", marks=pytest.mark.slow)])
def test_a_journal_that_lost_its_beginning_is_not_called_delivered(
    cli: Cli, tmp_path: Path, how: str
) -> None:
    """A journal without its beginning is reported as not delivered, each time.

    Nothing of it had arrived, and it no longer says which run it belongs to.
    """
    connection = lock(tmp_path)
    folder = make_half(tmp_path)
    connection.close()
    if how == "headless":
        file = folder / JOURNAL
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))
    else:
        cut(folder / JOURNAL, how)
    for _ in range(2):
        result = cli("sync.py", *with_store(tmp_path))
        assert result.code == 1
        assert result.out.splitlines()[-2] == "0 runs delivered, 1 not delivered"
        said = (
            "its journal is truncated or missing, so its run is unknown; "
            f"resume={folder} records it again"
        )
        assert said in result.out
    assert runs_in(tmp_path) == []


@pytest.mark.parametrize("how", ["gone", pytest.param("empty", marks=pytest.mark.slow)])
def test_a_finished_run_whose_journal_is_lost_is_told_again(
    cli: Cli, undisturbed: Callable[..., Outcome], tmp_path: Path, how: str
) -> None:
    """A finished run whose journal is lost is recorded again from its checkpoint.

    Nothing had arrived. The checkpoint has the epochs and the weights; the test is repeated.
    """
    log = tmp_path / "log.txt"
    nowhere = ("tracking.uri=http://127.0.0.1:9", f"outputs={tmp_path / 'out'}")
    assert faults.run_train((*RUN, *nowhere, "tracking.patience_s=0"), log) == 0, log.read_text()
    folder = folder_of_run(tmp_path)
    cut(folder / JOURNAL, how)
    assert cli("sync.py", *nowhere).code == 1
    assert (
        faults.run_train((f"resume={folder}", "tracking.patience_s=30", *with_store(tmp_path)), log)
        == 0
    ), log.read_text()
    assert outcome(tmp_path).differences(undisturbed()) == []
    assert len(runs_in(tmp_path)) == 1
    assert_nothing_is_pending(tmp_path)
    assert "the run is finished" in cli("train.py", f"resume={folder}", *with_store(tmp_path)).err


def test_a_run_whose_journal_is_gone_is_not_running_for_ever(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    words = (*RUN, "trainer.max_epochs=1000", *with_store(tmp_path))
    process = faults.start_train(words, log)
    faults.wait_for(lambda: runs_in(tmp_path) and "val/acc" in runs_in(tmp_path)[0].data.metrics)
    process.kill()
    process.join()
    (folder_of_run(tmp_path) / JOURNAL).unlink()
    said, told = cli("sync.py", *with_store(tmp_path)).out.splitlines()
    assert "a part that was delivered is missing" in said
    assert told == "1 run delivered, 0 not delivered"
    assert [run.info.status for run in runs_in(tmp_path)] == ["KILLED"]


@pytest.mark.slow
def test_a_store_that_lost_the_run_gets_it_from_its_start(cli: Cli, tmp_path: Path) -> None:
    """A resumed run whose store was replaced is delivered there from its start.

    The store has the same address and another file.
    """
    make_half(tmp_path)
    assert cli("sync.py", *with_store(tmp_path)).code == 0
    (run,) = runs_in(tmp_path)
    for file in tmp_path.glob("mlflow.db*"):
        file.unlink()
    log = tmp_path / "log.txt"
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 0, log.read_text()
    # MLflow's client keeps the old file open in this process.
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        ((new, status),) = connection.execute("SELECT run_uuid, status FROM runs").fetchall()
        steps = connection.execute(
            "SELECT step FROM metrics WHERE key = 'val/acc' ORDER BY step"
        ).fetchall()
    connection.close()
    assert new != run.info.run_id
    assert (status, steps) == ("FINISHED", [(1,), (2,), (3,)])


def test_a_killed_run_ended_when_it_died(cli: Cli, tmp_path: Path) -> None:
    """The end that is delivered later has the time of the journal's last record."""
    journal = make_half(tmp_path) / JOURNAL
    died = int(journal.stat().st_mtime) - 100
    os.utime(journal, (died, died))
    assert cli("sync.py", *with_store(tmp_path)).code == 0
    (run,) = runs_in(tmp_path)
    assert (run.info.status, run.info.end_time) == ("KILLED", 1000 * died)


def another_version() -> None:
    import torch

    torch.__version__ = "2.99.0"  # type: ignore[assignment]


@pytest.mark.slow
def test_another_version_is_said_when_a_run_is_resumed(tmp_path: Path) -> None:
    make_half(tmp_path)
    log = tmp_path / "resumed.txt"
    words = ("resume=last", *with_store(tmp_path))
    assert faults.run_train(words, log, another_version) == 0, log.read_text()
    assert "-> 2.99.0: metrics may differ in the last digits\n" in log.read_text()
    assert "using the checkpoint before it" not in log.read_text()
