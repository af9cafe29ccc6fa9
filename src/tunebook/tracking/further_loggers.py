"""Log a run to further Lightning loggers beside MLflow, such as TensorBoard.

Each reads the run's journal from its first record on, in a thread of its own. In a resumed run it
begins again in an empty folder. So it has every point once, whatever it had written when the run
was killed. A logger that fails or is slow never stops a run.
"""

import importlib.util
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from tunebook.config.validation import InputError
from tunebook.redaction import redact
from tunebook.tracking import journal
from tunebook.tracking.delivery import line
from tunebook.tracking.journal import Record
from tunebook.tracking.records import problem_of

log = logging.getLogger(__name__)

# Makes a logger from `save_dir`, a folder of its own, `run_name` and `run_key`, a unique id.
LoggerFactory = Callable[..., Any]
FOLDER = "loggers"  # in the run's folder: a subfolder for each logger
READ_EVERY_S = 1.0
LEAST_PATIENCE_S = 5.0  # at the end of a run, since most loggers write to this machine
LIGHTNINGS = {"FINISHED": "success"}  # how Lightning calls a status; all others are "failed"


def check_loggers(loggers: Mapping[str, LoggerFactory]) -> None:
    """Raise InputError or SettingError for a logger that can't be made."""
    for name, make in loggers.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                make(save_dir=folder, run_name="check", run_key="0" * 32)
            except ModuleNotFoundError as error:
                raise InputError(f"tracking.also.{name}: {line(error)}") from error


def require_extra(where: str, package: str) -> None:
    """Raise InputError, which names the pip extra of a package's name, if it is not installed."""
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"{where}: needs the package {package}, which is an extra: pip install '.[{package}]'"
        )


class JournalFollower(threading.Thread):
    """Log what a run's journal holds and receives to one further logger, until `close` is called.

    name: of the logger, for the log. make: creates it. run: the run's folder.
    """

    def __init__(self, name: str, make: LoggerFactory, run: Path, file: Path) -> None:
        super().__init__(name=f"logger {name}", daemon=True)
        self._setting, self._make = f"tracking.also.{name}", make
        self._folder, self._journal = run / FOLDER / name, file
        self._logger: Logger | None = None
        self._status = "KILLED"
        self._closing = threading.Event()

    def run(self) -> None:
        """Log until `close` is called, or until the logger fails."""
        try:
            _make_empty(self._folder)
            self._follow()
        except Exception as error:  # nothing that a further logger does may stop training
            log.warning(
                "%s: logs nothing more, but MLflow has everything: %s",
                self._setting,
                redact(line(error)),
            )

    def _follow(self) -> None:
        offset, is_last = 0, False
        while not is_last:
            is_last = self._closing.is_set()  # before reading, so that nothing is left out
            for record, end in journal.read(self._journal, offset):
                offset = end
                if not problem_of(record):
                    self._log(record)
            if not is_last:
                self._closing.wait(READ_EVERY_S)
        if self._logger is not None:
            self._logger.finalize(LIGHTNINGS.get(self._status, "failed"))

    def _log(self, record: Record) -> None:
        if record["kind"] == "run" and self._logger is None:
            logger: Logger = self._make(
                save_dir=str(self._folder), run_name=record["name"], run_key=record["key"]
            )
            logger.log_hyperparams(record["params"])
            self._logger = logger
        elif record["kind"] == "points" and self._logger is not None:
            for step, points in groupby(record["points"], key=lambda point: point[3]):
                self._logger.log_metrics({name: value for name, value, _, _ in points}, step)
        elif record["kind"] == "end":
            self._status = record["status"]

    def close(self, patience_s: float) -> None:
        """Wait until the logger has everything, but no longer than `patience_s` seconds, or 5."""
        self._closing.set()
        self.join(max(patience_s, LEAST_PATIENCE_S))
        if self.is_alive():
            log.warning("%s: has not received everything, but MLflow has", self._setting)


def _make_empty(folder: Path) -> None:
    """Make an empty folder in place of an earlier one.

    A symbolic link, which another person's run may contain, is removed and not followed.
    """
    for path in (folder.parent, folder):
        if path.is_symlink():
            path.unlink()
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
