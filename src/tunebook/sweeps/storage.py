"""Open the study's database, and wait while it can't be used.

The database may be removed, locked or damaged while a sweep is running, or the disk may be full.
Each call is retried until the database answers or the time limit is reached. A call is one
transaction, so that a retry does no harm.
"""

import contextlib
import errno
import functools
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tunebook.config.validation import InputError
from tunebook.redaction import learn, redact
from tunebook.sweeps.outside import sqlite_file

log = logging.getLogger(__name__)

RETRY_S = 0.5
LOCK_TIMEOUT_S = 10.0  # how long SQLite itself waits for another process's transaction
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The methods that Optuna's cache and its studies call.
CALLS = (
    "create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr",
    "get_study_id_from_name", "get_study_name_from_id", "get_study_directions",
    "get_study_user_attrs", "get_study_system_attrs", "get_all_studies", "create_new_trial",
    "_create_new_trial", "set_trial_param", "_set_trial_param", "get_trial_param",
    "set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attr",
    "set_trial_system_attr", "get_trial_id_from_study_id_trial_number", "get_trial",
    "get_all_trials", "_get_trials", "get_best_trial", "_get_best_trial_id",
)  # fmt: skip


class StudyUnavailable(RuntimeError):
    """Signal that the study's database can't be used, and that the time limit is reached.

    Nothing is lost: the same command resumes the sweep.
    """


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that there was no space left on the disk."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


class _Missing(RuntimeError):
    """Signal that the database file is missing, or that it contains another study."""


class PatientStorage(RDBStorage):
    """Act as Optuna's storage, and wait while the database can't be used.

    patience_s: how many seconds a call waits. gives_up: a function that is called meanwhile, and
    returns whether to stop waiting.
    """

    def __init__(self, address: str, patience_s: float = 0.0, must_exist: bool = False) -> None:
        learn(address)
        self.patience_s, self.gives_up = patience_s, _never
        self._file = sqlite_file(address)
        self._study: tuple[str, int] | None = None
        self._inode: tuple[int, int] | None = None
        if must_exist and self._file is not None and not self._file.is_file():
            raise _Missing(f"{self._file} does not exist")
        if self._file is None:
            options: dict[str, Any] = {"pool_pre_ping": True}
        else:
            options = {"connect_args": {"timeout": LOCK_TIMEOUT_S}}
        # A process that finds the database need not check what the one that created it has checked.
        super().__init__(
            address,
            engine_kwargs=options,
            skip_compatibility_check=must_exist,
            skip_table_creation=must_exist,
        )
        if self._file is not None:
            self._inode = _inode(self._file)

    def belongs_to(self, study: optuna.Study) -> None:
        """Remember the study, which a file that replaces this one must contain as well."""
        self._study = (study.study_name, study._study_id)

    @contextlib.contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Set how many seconds each call within the block may wait."""
        before, self.patience_s = self.patience_s, seconds
        try:
            yield
        finally:
            self.patience_s = before

    def look(self) -> None:
        """Wait until the database can be used."""
        if self._study is not None:
            self.get_study_id_from_name(self._study[0])

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of Optuna's storage, and retry it while it fails.

        Raise StudyUnavailable if the time limit is reached.
        """
        began, has_warned = time.monotonic(), False
        while True:
            try:
                self._look_at_file()
                return method(self, *args, **kwargs)
            except IntegrityError:
                raise  # the database works: two processes wrote the same thing
            except (StorageInternalError, SQLAlchemyError, _Missing) as error:
                reason = why(error)
            if time.monotonic() - began >= self.patience_s or self.gives_up():
                raise StudyUnavailable(f"the study's database can't be used ({reason})")
            if not has_warned:
                message = "the study's database can't be used (%s): waiting for at most %.0f s"
                log.warning(message, reason, self.patience_s)
                has_warned = True
            time.sleep(RETRY_S)

    def _look_at_file(self) -> None:
        """Reopen the file if another one has replaced it.

        An open connection would still use the old file.
        """
        if self._file is None:
            return
        try:
            inode = _inode(self._file)
        except OSError:
            raise _Missing(f"{self._file} does not exist") from None
        if inode != self._inode:
            # None until the new file is known to hold the study: the old file may be put back while
            # connections to the new one are open.
            self._inode = None
            self.engine.dispose()
            try:
                if self._study is not None:
                    name, number = self._study
                    if RDBStorage.get_study_id_from_name(self, name) != number:
                        raise KeyError(name)
            except KeyError:
                raise _Missing(f"{self._file} contains another study") from None
            self._inode = inode


def _never() -> bool:
    return False


def _inode(file: Path) -> tuple[int, int]:
    found = os.stat(file)
    return found.st_dev, found.st_ino


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def patient(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return self.call(method, *args, **kwargs)

    return patient


for _name in CALLS:
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))


def why(error: BaseException) -> str:
    """Return the reason in a few words, if possible those of the database driver."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    cause = getattr(cause, "orig", None) or cause or error
    return " ".join(redact(str(cause)).split())[:150] or type(cause).__name__


def open_storage(address: str, patience_s: float = 0.0) -> PatientStorage:
    """Return the database at `address`; a file that does not exist is created.

    Raise InputError if it can't be opened.
    """
    try:
        return PatientStorage(address, patience_s)
    except Exception as error:  # a database driver may raise anything
        reason = why(error)
        if isinstance(error, ImportError) and "postgres" in address:
            reason = "needs the package psycopg, which is an extra: pip install '.[postgresql]'"
        message = f"can't be opened ({type(error).__name__}: {reason[:150]})"
        raise InputError(f"sweep.storage: {message}") from None


def open_existing(address: str, patience_s: float) -> PatientStorage:
    """Return a database that another process has created.

    Raise StudyUnavailable if it does not answer in time.
    """
    began = time.monotonic()
    while True:
        try:
            return PatientStorage(address, patience_s, must_exist=True)
        except (StorageInternalError, SQLAlchemyError, _Missing, RuntimeError) as error:
            reason = why(error)
        if time.monotonic() - began >= patience_s:
            raise StudyUnavailable(f"the study's database can't be used ({reason})")
        time.sleep(RETRY_S)


def set_damaged_aside(file: Path) -> Path | None:
    """Rename a file that is not an intact SQLite database, so that a new one can be created.

    Return its new name, or None if it is intact. A file that is locked or can't be read is not
    renamed, because it may be intact.
    """
    if not file.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT_S)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return None
    except sqlite3.DatabaseError:
        found = "damaged"
    if found == "ok":
        return None
    aside = file.with_name(f"{file.name}.damaged-{time.time_ns()}")
    for suffix in ("-journal", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{file}{suffix}", f"{aside}{suffix}")
    return file.rename(aside)
