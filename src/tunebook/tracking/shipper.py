"""Sends a run's journal to MLflow: the only code that writes to a tracking store, in a thread of its own.

What has arrived is remembered after each call in `delivered.json`. A call that failed may have arrived all the same, so every
record is sent in a way that may be repeated: a run is looked for by its key before it is created again, a point that is sent twice
is stored once, an artifact replaces itself.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tunebook.runfolder import LAST_CHECKPOINT, PENDING, RunFolder, folders, write_atomically
from tunebook.secrets import HIDDEN, fits, learn, redact
from tunebook.tracking import journal
from tunebook.tracking.journal import Journal, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

JOURNAL, DELIVERED, LOCK, ARTIFACTS = "journal.jsonl", "delivered.json", ".delivery.lock", "artifacts"
KEY_TAG, PARENT_TAG = "tunebook.key", "mlflow.parentRunId"
BATCH = 1000  # points that MLflow takes in one call
SEND_EVERY_S = 1.0  # short epochs share a call
LONGEST_ORPHAN_S = 3600.0  # that a trial waits for the run that it belongs to, which may be in another store
TRIES = 3  # before a refusal is believed
LONGEST_WAIT_S = 30.0  # between two tries, while a store can't be reached
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST")  # MLflow's words for: not now and not later


class Delivery:
    """What of a run's folder has arrived in the store at `uri`, and the sending of the rest. One at a time a folder: see `alone`."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = folder, uri
        self.run_id = self.experiment_id = ""
        self.offset = 0  # bytes of the journal that have arrived
        self.uncertain = False  # whether an earlier call may have arrived without our knowing
        self.has_ended = False
        self._client: MlflowClient | None = None
        self._remember_from_disk()

    def _remember_from_disk(self) -> None:
        file = self.folder / DELIVERED
        try:
            found = json.loads(file.read_text())
            self.run_id, self.experiment_id, self.offset = found["run_id"], found["experiment_id"], int(found["offset"])
            self.has_ended = bool(found["has_ended"])
        except FileNotFoundError:
            self.uncertain = (self.folder / JOURNAL).exists()
        except (OSError, ValueError, KeyError, TypeError):
            self.run_id, self.offset, self.uncertain = "", 0, True

    def _remember(self, offset: int) -> None:
        self.offset = offset
        state = {"run_id": self.run_id, "experiment_id": self.experiment_id, "offset": offset, "has_ended": self.has_ended}
        try:
            write_atomically(self.folder / DELIVERED, json.dumps(state).encode())
        except OSError:
            self.uncertain = True  # a full disk: a later start sends again what it does not know of

    def take_over(self, run_id: str, experiment_id: str) -> None:
        """The journal is a run's that MLflow has already, the whole of it."""
        self.run_id, self.experiment_id, self.has_ended = run_id, experiment_id, True
        self._remember((self.folder / JOURNAL).stat().st_size)

    def alone(self, timeout_s: float = 0) -> FileLock:
        """A lock that one process at a time holds to deliver this folder. Entering it raises filelock.Timeout."""
        return FileLock(self.folder / LOCK, timeout=timeout_s)

    @property
    def client(self) -> "MlflowClient":
        """Opened at first use: importing MLflow takes seconds."""
        if self._client is None:
            from tunebook.tracking.store import open_client

            self._client = open_client(self.uri)
        return self._client

    @property
    def waiting(self) -> bool:
        """Whether the journal holds more than has arrived."""
        path = self.folder / JOURNAL
        return path.exists() and path.stat().st_size > self.offset

    def send(self) -> None:
        """Sends what is waiting. Raises whatever MLflow raises; what had arrived until then is remembered."""
        for kind, records, offset in _calls(journal.read(self.folder / JOURNAL, self.offset)):
            self._send_or_leave(kind, records)
            self._remember(offset)
        self.uncertain = False

    def _send_or_leave(self, kind: str, records: list[Record]) -> None:
        """What MLflow refuses would hold up all that follows. It says the same of a row that another run inserts in the same moment
        (a data set that is new to the experiment), which another try finds there."""
        for left in reversed(range(TRIES)):
            try:
                return self._send(kind, records)
            except Exception as error:
                self.uncertain = True
                if getattr(error, "error_code", None) not in REFUSALS or kind == "run":
                    raise
                if not left:
                    log.warning("MLflow refuses a record of run %s, which stays in its journal: %s", self.run_id, _line(error))
            time.sleep(0.1)

    def _send(self, kind: str, records: list[Record]) -> None:
        handlers: dict[str, Callable[[Record], None]] = {
            "run": self._run, "artifact": self._artifact, "dataset": self._dataset, "model": self._model, "tags": self._tags,
            "again": self._again, "end": self._end, "view": self._view,
        }  # fmt: skip
        if not self.run_id and kind != "run":  # killed before it could say what it is: there is nothing to tell
            self.has_ended = self.has_ended or kind == "end"
        elif kind == "points":
            self._points([point for record in records for point in record["points"]])
        else:
            handlers[kind](records[0])

    def _run(self, record: Record) -> None:
        from mlflow.entities import Param

        from tunebook.tracking.store import experiment_id

        self.experiment_id = experiment_id(self.client, record["experiment"], self.uri)
        found = self._search(record["key"]) if self.uncertain else ""
        tags = record["tags"] | {KEY_TAG: record["key"]}
        if record.get("parent"):
            parent = self._search(record["parent"])
            if not parent and time.time() - record["time"] / 1000 < LONGEST_ORPHAN_S:
                raise ConnectionError("the sweep's own run is not there yet")
            tags |= {PARENT_TAG: parent} if parent else {}
        if not found:
            created = self.client.create_run(self.experiment_id, start_time=record["time"], run_name=record["name"], tags=tags)
            found = created.info.run_id
        self.run_id = found
        self.client.log_batch(found, params=[Param(key, value) for key, value in record["params"].items()])

    def _search(self, key: str) -> str:
        runs = self.client.search_runs([self.experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        return str(runs[0].info.run_id) if runs else ""

    def _points(self, points: list[list[Any]]) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(points), BATCH):
            metrics = [Metric(name, value, at, step) for name, value, at, step in points[start : start + BATCH]]
            self.client.log_batch(self.run_id, metrics=metrics)

    def _tags(self, record: Record) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in record["tags"].items()])

    def _artifact(self, record: Record) -> None:
        file = self.folder / record["file"]
        if file.is_file():  # else it has arrived, and was removed here, before that could be remembered
            self.client.log_artifact(self.run_id, str(file), record["folder"] or None)
            if record["move"]:
                file.unlink()

    def _dataset(self, record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(record["name"], record["digest"], "local", record["source"], profile=record["profile"])
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", record["context"])])])

    def _model(self, record: Record) -> None:
        from tunebook.tracking.model import send_model

        send_model(self.client, self.experiment_id, self.run_id, self.folder / record["folder"], record["name"])

    def _view(self, record: Record) -> None:
        for key, value in record["tags"].items():
            self.client.set_experiment_tag(self.experiment_id, key, value)

    def _again(self, record: Record) -> None:
        self.has_ended = False
        self.client.update_run(self.run_id, status="RUNNING")

    def _end(self, record: Record) -> None:
        self.client.log_artifact(self.run_id, str(self.folder / JOURNAL), "log")
        self.client.set_terminated(self.run_id, record["status"], record["time"])
        self.has_ended = True


def _calls(records: Iterator[tuple[Record, int]]) -> Iterator[tuple[str, list[Record], int]]:
    """(kind, records, offset after them) of each call: neighbouring points share one, everything else is alone."""
    numbered = enumerate(records)
    for (kind, _), group in groupby(numbered, key=lambda item: (item[1][0]["kind"], -1 if item[1][0]["kind"] == "points" else item[0])):
        found = [item for _, item in group]
        yield kind, [record for record, _ in found], found[-1][1]


def _line(error: Exception) -> str:
    text = " ".join(redact(str(error)).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


class Shipper(threading.Thread):
    """Delivers the journal of the run that this process works on, while it grows; and beside that, what earlier runs have left."""

    def __init__(self, folder: RunFolder, uri: str, written: Journal) -> None:
        super().__init__(name="shipper", daemon=True)
        self.folder, self.delivery, self.journal = folder, Delivery(folder.path, uri), written
        self.problem = ""  # why the last try failed
        self._left_over = threading.Thread(target=self._deliver_left_over, args=(uri,), name="left over", daemon=True)
        self._progress_at = time.monotonic()
        self._closing = threading.Event()

    def run(self) -> None:
        """Until `close`."""
        wait_s, warned = SEND_EVERY_S, False
        self._left_over.start()
        with self.delivery.alone(timeout_s=60):
            while True:
                try:
                    if self._deliver():
                        wait_s, warned = SEND_EVERY_S, False
                except Exception as error:  # whatever a store may do, training goes on
                    self.problem = _line(error)
                    if not warned:
                        log.warning("MLflow is not reached; training goes on and its record is kept here: %s", self.problem)
                    wait_s, warned = min(2 * wait_s, LONGEST_WAIT_S), True
                if self._closing.is_set() and not self.delivery.waiting:
                    return
                if self._closing.wait(wait_s):
                    time.sleep(0.1 if not self.problem else 1.0)

    def _deliver_left_over(self, uri: str) -> None:
        delivered = deliver_left_over(self.folder.outputs, uri).delivered  # what can't be delivered now, sync tells
        if delivered:
            log.info("earlier runs delivered to MLflow: %d", delivered)

    def _deliver(self) -> bool:
        if self.delivery.waiting:
            self.journal.sync()
            before = self.delivery.offset
            try:
                self.delivery.send()
            finally:
                if self.delivery.offset > before:
                    self._progress_at = time.monotonic()
            self.problem = ""
        return not self.problem

    def close(self, patience_s: float) -> bool:
        """Waits until everything has arrived, or nothing has for `patience_s`. True where everything has."""
        self._progress_at = time.monotonic()
        self._closing.set()
        if self._left_over.ident is not None:
            self._left_over.join(patience_s)
        while self.is_alive() and time.monotonic() - self._progress_at < patience_s:
            self.join(0.05)
        if self.delivery.waiting or not self.delivery.has_ended:
            return False
        self.folder.delivered()
        return True


def check(cfg: Any, choices: object) -> None:
    """SettingError where there is no store to deliver to."""
    from tunebook.tracking.store import require_mlflow

    require_mlflow(cfg)


@dataclass
class LeftOver:
    """What came of delivering what earlier runs have left. problems: a line for each run that could not be delivered."""

    delivered: int = 0
    problems: list[str] = field(default_factory=list)


def deliver_left_over(outputs: Path, uri: str) -> LeftOver:
    """Delivers what runs of processes that are gone have left, and gives those that were killed their status.

    A run's folder holds its store's address without the secrets in it; where it is that of `uri`, `uri` is used. Runs of other hosts
    are left alone: whether they live can't be seen from here.
    """
    found = LeftOver()
    learn(uri)
    for folder in folders(outputs, PENDING):
        if folder.is_elsewhere or folder.is_alive:
            continue
        if HIDDEN in folder.uri and not fits(folder.uri, uri):
            found.problems.append(f"{folder.path}: tracking.uri={folder.uri} is not kept whole, since it holds a secret: give it again")
            continue
        delivery = Delivery(folder.path, uri if fits(folder.uri, uri) else folder.uri)
        try:
            with delivery.alone():
                found.delivered += _deliver_dead(folder, delivery)
        except Timeout:
            continue  # another process is at it
        except Exception as error:  # whatever a store may do, the next may be well
            found.problems.append(f"{folder.path}: {_line(error)}")
    return found


def _deliver_dead(folder: RunFolder, delivery: Delivery) -> bool:
    folder = RunFolder.read(folder.path)
    if folder.is_alive:
        return False  # resumed a moment ago
    file = folder.path / JOURNAL
    last = None
    for record, _ in journal.read(file):
        last = record
    if last is not None and last["kind"] != "end":
        written = Journal(file)
        if (folder.path / LAST_CHECKPOINT).exists():  # so that another machine can go on from it
            written.append({"kind": "artifact", "file": LAST_CHECKPOINT, "folder": "checkpoints", "move": False})
        written.append({"kind": "end", "status": "KILLED", "time": int(file.stat().st_mtime * 1000)})
        written.close()
        folder.close("KILLED")
    delivery.send()
    folder.delivered()
    return True


def end_lost_trials(uri: str, sweep: str, numbers: Collection[int]) -> None:
    """Ends the runs of a sweep's trials that were begun on a machine which was lost, and done on another: nobody else can. numbers: of
    the trials that are over. A store that can't be reached keeps them as they are."""
    from tunebook.tracking.store import open_client

    try:
        client = open_client(uri)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        for run in client.search_runs(ids, f"attributes.status = 'RUNNING' and tags.`sweep.name` = '{sweep}'"):
            if run.data.tags.get("sweep.trial", "").isdigit() and int(run.data.tags["sweep.trial"]) in numbers:
                client.set_tag(run.info.run_id, "sweep.state", "lost")
                client.set_terminated(run.info.run_id, "KILLED")
    except Exception as error:  # whatever a store may do
        log.warning("runs of machines that were lost stay RUNNING in MLflow: %s", _line(error))
