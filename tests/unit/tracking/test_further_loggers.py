"""Further loggers receive what a run's journal holds, each point once, and stop no run."""

import csv
import functools
import logging
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger

from tunebook.config.validation import InputError
from tunebook.tracking.further_loggers import FOLDER, JournalFollower, check_loggers, require_extra
from tunebook.tracking.journal import Journal

RUN = {
    "kind": "run", "key": "a" * 32, "experiment": "e", "name": "n", "parent": "",
    "params": {"lr": "0.1"}, "tags": {}, "time": 0,
}  # fmt: skip


def table(save_dir: str, run_name: str, run_key: str) -> CSVLogger:
    return CSVLogger(save_dir, name="", version="")


def points(step: int, **values: float) -> dict[str, Any]:
    return {"kind": "points", "points": [[name, value, 0, step] for name, value in values.items()]}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / FOLDER / "table" / "metrics.csv").open() as file:
        return [{key: text for key, text in row.items() if text} for row in csv.DictReader(file)]


def follow(folder: Path, make: Any = table) -> JournalFollower:
    follower = JournalFollower("table", make, folder, folder / "journal.jsonl")
    follower.start()
    return follower


def test_a_resumed_run_has_each_point_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for record in (RUN, points(1, loss=0.5, acc=0.75), points(2, loss=0.25)):
        journal.append(record)
    follow(tmp_path).close(10)  # as a process that is killed, it leaves a file
    assert len(rows(tmp_path)) == 2
    again = follow(tmp_path)
    journal.append({"kind": "again"})
    journal.append(points(3, loss=0.125))
    journal.append({"kind": "end", "status": "FINISHED", "time": 0})
    again.close(10)
    assert rows(tmp_path) == [
        {"step": "1", "loss": "0.5", "acc": "0.75"},
        {"step": "2", "loss": "0.25"},
        {"step": "3", "loss": "0.125"},
    ]


def test_points_of_several_steps_in_one_record_keep_their_steps(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(RUN)
    journal.append({"kind": "points", "points": [["a", 1.0, 0, 0], ["b", 2.0, 0, 4]]})
    follow(tmp_path).close(10)
    assert rows(tmp_path) == [{"step": "0", "a": "1.0"}, {"step": "4", "b": "2.0"}]


def test_a_damaged_record_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    Journal(file).append(RUN)
    file.write_bytes(file.read_bytes() + b"00000000 {}\n")
    journal = Journal(file)
    journal.append({"kind": "points", "points": "none"})
    journal.append(points(1, loss=1.0))
    follow(tmp_path).close(10)
    assert rows(tmp_path) == [{"step": "1", "loss": "1.0"}]


class Failing(CSVLogger):
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        raise OSError("no space\nleft")


def test_a_logger_that_fails_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for record in (RUN, points(1, loss=1.0), points(2, loss=1.0)):
        journal.append(record)
    with caplog.at_level(logging.WARNING):
        follow(tmp_path, lambda save_dir, **_: Failing(save_dir)).close(10)
    (said,) = caplog.messages
    assert said.startswith("tracking.also.table: logs nothing more, but MLflow has everything: ")
    assert "no space" in said
    assert "\n" not in said


def test_a_link_in_a_strangers_run_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "table"
    mine.mkdir(parents=True)
    (mine / "file").touch()
    run = tmp_path / "run"
    run.mkdir()
    (run / FOLDER).symlink_to(tmp_path / "mine")
    Journal(run / "journal.jsonl").append(RUN)
    follow(run).close(10)
    assert (mine / "file").exists()
    assert not (run / FOLDER).is_symlink()


def test_a_missing_package_is_one_line() -> None:
    with pytest.raises(InputError) as missing:
        check_loggers({"mine": lambda **_: require_extra("tracking.also.mine", "no_such_package")})
    assert str(missing.value) == (
        "tracking.also.mine: needs the package no_such_package, which is an extra: "
        "pip install '.[no_such_package]'"
    )
    needs = functools.partial(__import__, "no_such_package")
    with pytest.raises(InputError, match=r"tracking.also.mine: .*No module named"):
        check_loggers({"mine": lambda **_: needs()})
