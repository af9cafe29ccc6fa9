"""The tracking store: checked before a run starts, the local sqlite file created once however many processes start.

MLflow is imported where it is used: it takes seconds, which a run spends in its first steps instead of before them.
"""

import hashlib
import importlib.util
import logging
import os
import re
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from tunebook.checks import InputError, SettingError
from tunebook.secrets import redact
from tunebook.tracking import view
from tunebook.tracking.address import what_is_wrong, without_user

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
LONGEST_FOLDER_NAME = 80  # characters
LONGEST_KNOCK_S = 10.0  # at a server's door


def check_address(uri: str) -> None:
    """SettingError where `uri` is no address of a store that MLflow could open."""
    if reason := what_is_wrong(uri):
        raise SettingError("uri", redact(without_user(uri)), reason)


def refuse_unusable(uri: str) -> None:
    """InputError where a sqlite store can't be written, or is not of the installed MLflow. Takes milliseconds, makes nothing.

    A server is not asked: a run does without one until it is back.
    """
    path = sqlite_path(uri)
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"tracking.uri={uri}: is a folder")
    if not path.exists():
        folder = next(parent for parent in path.parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"tracking.uri={uri}: the folder {folder} can't be written to")
        return
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"tracking.uri={uri}: the file or its folder can't be written to")
    _check_schema(uri, path)


def _check_schema(uri: str, path: Path) -> None:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            found = [
                str(version)
                for (version,) in connection.execute("SELECT version_num FROM alembic_version")
            ]
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return  # somebody writes: it is a store
        raise InputError(f"tracking.uri={uri}: is not an MLflow store ({error})") from None
    except sqlite3.DatabaseError as error:
        raise InputError(f"tracking.uri={uri}: is not an MLflow store ({error})") from None
    known, newest = _revisions()
    if found == [newest]:
        return
    if set(found) <= known:
        raise InputError(
            f"tracking.uri={uri}: is of an older MLflow; back it up, then run `mlflow db upgrade {uri}`"
        )
    raise InputError(
        f"tracking.uri={uri}: is of a newer MLflow than the one installed here (schema {' '.join(found) or 'unknown'})"
    )


def _revisions() -> tuple[set[str], str]:
    """Every schema revision that the installed MLflow knows, and the newest. Read from its migrations as text: importing them takes
    a second."""
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    texts = [
        file.read_text()
        for file in (Path(spec.origin).parent / "store/db_migrations/versions").glob("*.py")
    ]
    known, followed = (
        {
            match
            for text in texts
            for match in re.findall(rf"^{name}\s*=\s*[\"'](\w+)[\"']", text, re.MULTILINE)
        }
        for name in ("revision", "down_revision")
    )
    (newest,) = known - followed
    return known, newest


def _quiet() -> None:
    """MLflow tells of each migration, and of each error that it raises as well, with its traceback."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(
        logging.ERROR
    )  # of each try that failed; the last one's error is told


def open_client(uri: str) -> "MlflowClient":
    """A client of the store at `uri`; a sqlite file that isn't there yet is created."""
    from mlflow import MlflowClient

    _quiet()
    ensure_store(uri)
    return MlflowClient(uri)


def sqlite_path(uri: str) -> Path | None:
    """The file behind a sqlite address; None for a server's."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def artifact_folder(uri: str) -> Path | None:
    """Where a local store's artifacts lie: `mlruns/` beside the file. None for a server, which decides itself."""
    path = sqlite_path(uri)
    return path.parent / "mlruns" if path else None


def add_artifacts(uri: str, run_id: str, folder: Path, name: str) -> None:
    """Puts a folder's files beside those that a run has, as `name`, in place of earlier ones. Raises whatever MLflow raises."""
    client = open_client(uri)
    for file in sorted(folder.iterdir()):
        client.log_artifact(run_id, str(file), name)


class RunNotFound(InputError):
    """There is no such store or run, or it lacks what was asked of it. Its text is one line for a user."""


def require_store(uri: str) -> None:
    """SettingError, InputError where nothing can be read at `uri`: looking must not create a store, nor wait minutes for a server."""
    try:
        check_address(uri)
    except SettingError as error:
        raise error.under("tracking") from None
    path = sqlite_path(uri)
    if path is None:
        _knock(uri)
    elif not path.is_file():
        raise RunNotFound(
            f"tracking.uri={uri}: there is no such store (has anything been trained yet?)"
        )
    else:
        _check_schema(uri, path)


def require_mlflow(cfg: Any) -> None:
    """SettingError for `tracking=off`, where runs are read."""
    if "uri" not in cfg.tracking:
        raise SettingError("tracking", "off", "runs are read from MLflow; allowed: mlflow")


def _knock(uri: str) -> None:
    """InputError where no server answers. (One that asks for a password does answer.)"""
    try:
        if uri.startswith("http"):
            parts = urlsplit(uri)
            address = parts._replace(
                netloc=parts.netloc.rpartition("@")[2]
            )  # urllib takes a password for a part of the host
            urllib.request.urlopen(address.geturl(), timeout=LONGEST_KNOCK_S).close()
        elif "://" in uri:
            import sqlalchemy

            sqlalchemy.create_engine(uri).connect().close()
    except urllib.error.HTTPError:
        return
    except Exception as error:  # whatever a driver raises
        reason = " ".join(redact(str(error)).split())
        raise InputError(f"tracking.uri={redact(uri)}: can't be reached ({reason[:200]})") from None


def ensure_store(uri: str) -> None:
    """Creates a sqlite store that isn't there yet. A server's store is the server's business.

    Several processes migrating one new file corrupt it, so it is made under a lock in a temporary file and renamed into place:
    nobody ever sees half a store. WAL lets the UI read while runs write.
    """
    path = sqlite_path(uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        _quiet()
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            store = SqlAlchemyStore(f"{SQLITE}{temporary}", (path.parent / "mlruns").as_uri())  # type: ignore[no-untyped-call]
            store.engine.dispose()
            with sqlite3.connect(temporary) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            temporary.replace(path)
        finally:
            for leftover in path.parent.glob(f"{temporary.name}*"):
                leftover.unlink(missing_ok=True)


def folder_name(name: str) -> str:
    """A name as one of a folder: an experiment called `../x` stays inside its store, and a long one fits a file system."""
    safe = re.sub(r"[^\w. =,()+-]", "_", name).strip(". ")[:LONGEST_FOLDER_NAME]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
    """The id of the experiment (MLflow's folder of runs) called `name`, created or brought back from the bin where needed."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        folder = artifact_folder(uri)
        try:
            location = (folder / folder_name(name)).as_uri() if folder else None
            return str(client.create_experiment(name, artifact_location=location, tags=view.tags()))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
