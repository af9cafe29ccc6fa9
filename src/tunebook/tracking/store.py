"""The local sqlite store, created once however many processes start, and the experiment in it."""

import logging
import os
import sqlite3
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tunebook.checks import InputError
from tunebook.tracking import view

SQLITE = "sqlite:///"


def sqlite_path(uri: str) -> Path | None:
    """The file behind a sqlite address; None for a server's."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def artifact_folder(uri: str) -> Path | None:
    """Where a local store's artifacts lie: `mlruns/` beside the file. None for a server, which decides itself."""
    path = sqlite_path(uri)
    return path.parent / "mlruns" if path else None


class RunNotFound(InputError):
    """There is no such store or run, or it lacks what was asked of it. Its text is one line for a user."""


def require_store(uri: str) -> None:
    """RunNotFound where a sqlite store isn't there: looking must not create one."""
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise RunNotFound(f"tracking.uri={uri}: there is no such store (has anything been trained yet?)")


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

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
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


def experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    """The id of the experiment (MLflow's folder of runs) called `name`, created or brought back from the bin where needed."""
    found = client.get_experiment_by_name(name)
    if found is None:
        folder = artifact_folder(uri)
        try:
            location = (folder / name).as_uri() if folder else None
            return str(client.create_experiment(name, artifact_location=location, tags=view.tags()))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
