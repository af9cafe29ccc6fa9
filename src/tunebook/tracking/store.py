"""Check the tracking store before a run starts, and create the local sqlite file.

The file is created once, however many processes start together. MLflow is imported where it is
used: importing it takes seconds, which overlap with the first steps of a run.
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

from tunebook.config.validation import InputError, SettingError
from tunebook.redaction import redact
from tunebook.tracking import view
from tunebook.tracking.address import address_problem, without_user

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
MAX_FOLDER_NAME = 80  # characters
CONNECT_TIMEOUT_S = 10.0  # that a server may take to answer


def check_address(uri: str) -> None:
    """Raise SettingError if `uri` is not the address of a store that MLflow could open."""
    if reason := address_problem(uri):
        raise SettingError("uri", redact(without_user(uri)), reason)


def refuse_unusable(uri: str) -> None:
    """Raise InputError if a sqlite store can't be written or is not of the installed MLflow.

    This takes milliseconds and creates nothing. A server is not contacted, because a run does not
    need its server while it is training.
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
            return  # another process is writing to it, so this is a store
        raise InputError(f"tracking.uri={uri}: is not an MLflow store ({error})") from None
    except sqlite3.DatabaseError as error:
        raise InputError(f"tracking.uri={uri}: is not an MLflow store ({error})") from None
    known, newest = _revisions()
    if found == [newest]:
        return
    if set(found) <= known:
        raise InputError(
            f"tracking.uri={uri}: was created by an older MLflow; "
            f"back it up, then run `mlflow db upgrade {uri}`"
        )
    raise InputError(
        f"tracking.uri={uri}: was created by a newer MLflow than the one installed here "
        f"(schema {' '.join(found) or 'unknown'})"
    )


def _revisions() -> tuple[set[str], str]:
    """Return every schema revision that the installed MLflow knows, and the newest of them.

    They are read from the text of MLflow's migrations, because importing those takes a second.
    """
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
    """Silence MLflow's log lines about migrations, and about errors that it raises anyway."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # It warns about each failed attempt; the error of the last one is raised anyway.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def open_client(uri: str) -> "MlflowClient":
    """Return a client of the store at `uri`, after creating a sqlite file that does not exist."""
    from mlflow import MlflowClient

    _quiet()
    ensure_store(uri)
    return MlflowClient(uri)


def sqlite_path(uri: str) -> Path | None:
    """Return the file that a sqlite address names, or None for any other address."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def artifact_folder(uri: str) -> Path | None:
    """Return the folder of a local store's artifacts, which is `mlruns/` next to the file.

    None for a server, which chooses the folder itself.
    """
    path = sqlite_path(uri)
    return path.parent / "mlruns" if path else None


def add_artifacts(uri: str, run_id: str, folder: Path, name: str) -> None:
    """Log the files of a folder as artifacts of a run, in its artifact folder `name`.

    They replace earlier ones of the same names. Raises whatever MLflow raises.
    """
    client = open_client(uri)
    for file in sorted(folder.iterdir()):
        client.log_artifact(run_id, str(file), name)


class RunNotFound(InputError):
    """Report that a store or a run does not exist, or lacks what was requested.

    Its text is one line for a user.
    """


def require_store(uri: str) -> None:
    """Raise SettingError or InputError if there is no store to read at `uri`.

    Reading must not create a store, and must not wait minutes for a server.
    """
    try:
        check_address(uri)
    except SettingError as error:
        raise error.under("tracking") from None
    path = sqlite_path(uri)
    if path is None:
        _ping(uri)
    elif not path.is_file():
        raise RunNotFound(
            f"tracking.uri={uri}: there is no such store (has anything been trained yet?)"
        )
    else:
        _check_schema(uri, path)


def require_mlflow(cfg: Any) -> None:
    """Raise SettingError for `tracking=off`, with which no runs can be read."""
    if "uri" not in cfg.tracking:
        raise SettingError("tracking", "off", "runs are read from MLflow; allowed: mlflow")


def _ping(uri: str) -> None:
    """Raise InputError if no server answers.

    A server that requires a password has answered, too.
    """
    try:
        if uri.startswith("http"):
            parts = urlsplit(uri)
            # urllib would read a password as a part of the host.
            address = parts._replace(netloc=parts.netloc.rpartition("@")[2])
            urllib.request.urlopen(address.geturl(), timeout=CONNECT_TIMEOUT_S).close()
        elif "://" in uri:
            import sqlalchemy

            sqlalchemy.create_engine(uri).connect().close()
    except urllib.error.HTTPError:
        return
    except Exception as error:  # a driver may raise anything
        reason = " ".join(redact(str(error)).split())
        raise InputError(f"tracking.uri={redact(uri)}: can't be reached ({reason[:200]})") from None


def ensure_store(uri: str) -> None:
    """Create a sqlite store that does not exist yet; do nothing for a server.

    Several processes that migrate the same new file would corrupt it. So the store is created under
    a lock, in a temporary file that is then renamed: no process ever sees an incomplete store.
    WAL mode lets the UI read while runs write.
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
    """Return a name that is safe for a folder.

    An experiment called `../x` stays inside its store, and a long name fits the file system.
    """
    safe = re.sub(r"[^\w. =,()+-]", "_", name).strip(". ")[:MAX_FOLDER_NAME]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
    """Return the id of the MLflow experiment called `name`.

    It is created if it does not exist, and restored if it was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        folder = artifact_folder(uri)
        try:
            location = (folder / folder_name(name)).as_uri() if folder else None
            return str(client.create_experiment(name, artifact_location=location, tags=view.tags()))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process has just created it
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
