"""Send each kind of record to MLflow, in a way that can safely be repeated.

A call that failed may still have arrived. So a run is searched for by its key before it is created
again, a point that is sent twice is stored once, and an artifact replaces itself.
"""

import contextlib
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebook.config.validation import format_value
from tunebook.tags import RUN_KEY
from tunebook.tracking.arrived import JOURNAL, DeliveryState
from tunebook.tracking.journal import Record
from tunebook.untrusted import inside, open_regular, require_plain

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

PARENT_TAG = "mlflow.parentRunId"
BATCH = 1000  # points that MLflow takes in one call
# How long a trial waits for its sweep's parent run, which may be in another store.
MAX_ORPHAN_S = 3600.0
# MLflow's error codes for a request that would fail again.
REFUSALS = (
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED",
)  # fmt: skip
REFUSING_STATUSES = (400, 405, 411, 413, 414, 415, 422, 431)  # HTTP, from an artifact server
# Operating-system errors that may be temporary and are not the record's fault.
PASSING = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EINTR,
    errno.EAGAIN,
    errno.EIO,
    errno.ESTALE,
)
SENT = ".sent"  # the name of the model's folder while it is being removed


class UnsendableError(ValueError):
    """Report that a record can't be sent, now or later.

    Its text says why.
    """


@contextlib.contextmanager
def _local(name: object) -> Iterator[None]:
    """Turn an error about a file of the run's folder into UnsendableError.

    An error that may be temporary is raised unchanged.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in PASSING:
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnsendableError(f"{format_value(name)}: {reason}") from None


def is_refusal(error: Exception) -> bool:
    """Return whether it is pointless to send the same record again."""
    if isinstance(error, UnsendableError) or getattr(error, "error_code", None) in REFUSALS:
        return True
    return getattr(getattr(error, "response", None), "status_code", None) in REFUSING_STATUSES


class Sender:
    """Send the records of one run's folder.

    writing: the lock that is held while a file of the folder is put in place or removed.
    """

    def __init__(
        self, folder: Path, uri: str, arrived: DeliveryState, writing: threading.Lock
    ) -> None:
        self.folder, self.uri, self.arrived, self.writing = folder, uri, arrived, writing
        self._client: MlflowClient | None = None
        # The steps that the store holds, by metric; filled only if the journal was rebuilt.
        self._points_there: dict[str, set[int]] = {}
        self.handlers: dict[str, Callable[[Record], None]] = {
            "run": self._run, "artifact": self._artifact, "dataset": self._dataset,
            "model": self._model, "tags": self._tags, "again": self._again, "end": self._end,
            "view": self._view,
        }  # fmt: skip

    @property
    def client(self) -> "MlflowClient":
        """Return MLflow's client, opened on first use because importing MLflow takes seconds."""
        if self._client is None:
            from tunebook.tracking.store import open_client

            self._client = open_client(self.uri)
        return self._client

    @property
    def run_id(self) -> str:
        """Return the run's id in the store, or "" until the run is there."""
        return self.arrived.run_id

    def send(self, kind: str, records: list[Record]) -> None:
        """Send the records of one call to MLflow.

        Raises UnsendableError, and whatever MLflow raises.
        """
        if not self.run_id and kind != "run":
            # The run was killed before it was described: there is nothing to send.
            self.arrived.has_ended = self.arrived.has_ended or kind == "end"
        elif kind == "points":
            self._points([point for record in records for point in record["points"]])
        else:
            self.handlers[kind](records[0])

    def is_ours(self, key: str) -> bool:
        """Return whether the store holds the run with our id, and that run has this key.

        A run without a key counts as ours.
        """
        try:
            found = self.client.get_run(self.run_id).data.tags.get(RUN_KEY, key)
        except Exception as error:
            if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return bool(found == key)

    def _run(self, record: Record) -> None:
        from tunebook.tracking.store import experiment_id

        self.arrived.experiment_id = experiment_id(self.client, record["experiment"], self.uri)
        found = self._search(record["key"]) if self.arrived.uncertain else ""
        tags = record["tags"] | {RUN_KEY: record["key"]}
        if record.get("parent"):
            parent = self._search(record["parent"])
            if not parent and time.time() - record["time"] / 1000 < MAX_ORPHAN_S:
                raise ConnectionError("the sweep's parent run does not exist yet")
            tags |= {PARENT_TAG: parent} if parent else {}
        if not found:
            place, name = self.arrived.experiment_id, record["name"]
            found = self.client.create_run(
                place, start_time=record["time"], run_name=name, tags=tags
            ).info.run_id
        self.arrived.run_id = found
        self._params(record["params"])

    def _params(self, params: dict[str, str]) -> None:
        """Log the parameters.

        Parameters that MLflow rejects are skipped with a warning, so that the run itself is kept.
        """
        from mlflow.entities import Param

        try:
            self.client.log_batch(
                self.run_id, params=[Param(key, value) for key, value in params.items()]
            )
        except Exception as error:
            if not is_refusal(error):
                raise
            log.warning(
                "MLflow rejects parameters of run %s: %s",
                self.run_id,
                " ".join(str(error).split())[:200],
            )

    def _search(self, key: str) -> str:
        runs = self.client.search_runs(
            [self.arrived.experiment_id], f"tags.`{RUN_KEY}` = '{key}'", max_results=1
        )
        return str(runs[0].info.run_id) if runs else ""

    def _points(self, points: list[list[Any]]) -> None:
        from mlflow.entities import Metric

        if self.arrived.rebuilt:
            points = [point for point in points if point[3] not in self._steps_there(point[0])]
        for start in range(0, len(points), BATCH):
            metrics = [
                Metric(name, value, at, step)
                for name, value, at, step in points[start : start + BATCH]
            ]
            self.client.log_batch(self.run_id, metrics=metrics)
        for name, _, _, step in points if self.arrived.rebuilt else ():
            self._points_there[name].add(step)

    def _steps_there(self, name: str) -> set[int]:
        if name not in self._points_there:
            history = self.client.get_metric_history(self.run_id, name)
            self._points_there[name] = {point.step for point in history}
        return self._points_there[name]

    def _tags(self, record: Record) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(
            self.run_id, tags=[RunTag(key, value) for key, value in record["tags"].items()]
        )

    def _artifact(self, record: Record) -> None:
        with _local(record["file"]):
            file = inside(self.folder, record["file"])
            before = _identity(file)
        if before is None:
            return  # it arrived, and was removed here before this could be recorded
        self.client.log_artifact(self.run_id, str(file), record["folder"] or None)
        if record["move"]:
            with self.writing:  # otherwise a newer file, written meanwhile, could be removed
                if _identity(file) == before:
                    file.unlink()

    def _dataset(self, record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            record["name"], record["digest"], "local", record["source"], profile=record["profile"]
        )
        context = [InputTag("mlflow.data.context", record["context"])]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, context)])

    def _model(self, record: Record) -> None:
        from tunebook.tracking.model import read_description, send_model

        with _local(record["folder"]):
            folder = inside(self.folder, record["folder"])
            if not os.path.lexists(folder):
                return  # it has already arrived, as in `_artifact`
            require_plain(folder, tuple(entry.name for entry in os.scandir(folder)))
            before, description = folder.stat().st_ino, read_description(folder)
        send_model(
            self.client,
            self.arrived.experiment_id,
            self.run_id,
            folder,
            record["name"],
            description,
        )
        with self.writing, contextlib.suppress(OSError):
            if folder.stat().st_ino == before:
                sent = folder.with_name(SENT)
                shutil.rmtree(sent, ignore_errors=True)
                folder.rename(sent)  # atomic: a kill must not leave half a model
        shutil.rmtree(folder.with_name(SENT), ignore_errors=True)

    def _view(self, record: Record) -> None:
        for key, value in record["tags"].items():
            self.client.set_experiment_tag(self.arrived.experiment_id, key, value)

    def _again(self, record: Record) -> None:
        self.arrived.has_ended = False
        self.client.update_run(self.run_id, status="RUNNING")

    def _end(self, record: Record) -> None:
        self.client.log_artifact(self.run_id, str(self.folder / JOURNAL), "log")
        self.client.set_terminated(self.run_id, record["status"], record["time"])
        self.arrived.has_ended = True


def _identity(file: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from a newer one of the same name, or None if there is no file."""
    try:
        with open_regular(file) as opened:
            found = os.fstat(opened.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
