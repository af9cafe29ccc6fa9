"""Send a run's journal to MLflow in a background thread.

This thread and `make sync` also deliver what earlier runs could not.
"""

import logging
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from tunebook.config.validation import InputError
from tunebook.program import call
from tunebook.redaction import HIDDEN, fits, learn
from tunebook.run_folder import LAST_CHECKPOINT, PENDING, RunFolder, folders, held
from tunebook.tags import RUN_KEY, SWEEP_STATE, SWEEP_TRIAL
from tunebook.tracking import records
from tunebook.tracking.arrived import DELIVERED, JOURNAL
from tunebook.tracking.delivery import Delivery, alone, line
from tunebook.tracking.journal import Journal

__all__ = [
    "ARTIFACTS",
    "DELIVERED",
    "JOURNAL",
    "RUN_KEY",
    "Delivery",
    "LeftOver",
    "Uploader",
    "end_lost_trials",
    "upload_pending",
]

log = logging.getLogger(__name__)

ARTIFACTS = "artifacts"
SEND_EVERY_S = 1.0  # short epochs share a call
# Before MLflow is imported, so that training has begun by then: imports of two threads take turns.
FIRST_S = 1.0
AGAIN_S, SOON_S = 1.0, 0.01  # between two attempts at the end of a run, after a failure or without
MAX_WAIT_S = 30.0  # between two attempts, while a store can't be reached


class Uploader(threading.Thread):
    """Deliver the journal of this process's run while it grows.

    A second thread delivers what earlier runs have not delivered.
    """

    def __init__(self, folder: RunFolder, uri: str, written: Journal) -> None:
        super().__init__(name="uploader", daemon=True)
        self.writing = threading.Lock()  # held while an artifact is put in place
        self.folder, self.delivery, self.journal = (
            folder,
            Delivery(folder.path, uri, self.writing),
            written,
        )
        self.problem = ""  # why the last attempt failed
        self._left_over = threading.Thread(
            target=self._upload_pending, args=(uri,), name="left over", daemon=True
        )
        self._progress_at = time.monotonic()
        self._closing = threading.Event()

    def run(self) -> None:
        """Deliver until `close` is called."""
        wait_s, warned = SEND_EVERY_S, False
        if "mlflow" not in sys.modules:
            self._closing.wait(FIRST_S)
        self._left_over.start()
        lock = alone(self.folder.path)
        while not lock.is_locked:
            try:
                lock.acquire()
            except Timeout:  # another process is delivering an earlier part of this run
                if self._closing.wait(SEND_EVERY_S) and not self.delivery.waiting:
                    return
                self.problem = "another process is delivering this run"
        self.problem = ""
        with lock:
            self.delivery.reload()
            while True:
                try:
                    if self._deliver():
                        wait_s, warned = SEND_EVERY_S, False
                except Exception as error:  # no failure of the store may stop training
                    self.problem = line(error)
                    if not warned:
                        log.warning(
                            "MLflow is unreachable; buffering the run on disk: %s",
                            self.problem,
                        )
                    wait_s, warned = min(2 * wait_s, MAX_WAIT_S), True
                if self._closing.is_set() and not self.delivery.waiting:
                    return
                if self._closing.wait(wait_s):
                    time.sleep(AGAIN_S if self.problem else SOON_S)

    def _upload_pending(self, uri: str) -> None:
        # The problems are not logged here; sync reports them.
        delivered = upload_pending(self.folder.outputs, uri).delivered
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
        """Wait until everything has arrived, or until nothing has arrived for `patience_s` seconds.

        Returns whether everything has arrived.
        """
        self._progress_at = time.monotonic()
        self._closing.set()
        while self.is_alive() and time.monotonic() - self._progress_at < patience_s:
            self.join(0.05)
        if self._left_over.ident is not None:
            self._left_over.join(patience_s)
        if self.delivery.waiting or not self.delivery.has_ended:
            return False
        self.folder.delivered()
        return True


def check(cfg: Any) -> None:
    """Raise SettingError if there is no store to deliver to."""
    from tunebook.tracking.store import require_mlflow

    require_mlflow(cfg)


@dataclass
class LeftOver:
    """Hold the result of delivering earlier runs.

    delivered: the number of runs that were delivered.
    problems: one line for each run that could not be delivered.
    """

    delivered: int = 0
    problems: list[str] = field(default_factory=list)


def upload_pending(outputs: Path, uri: str) -> LeftOver:
    """Deliver the rest of runs whose process has ended, and set the status of killed runs.

    It delivers only to the store at `uri`. A run's folder names a store too, but the folder may
    come from another person, and MLflow would send the user's password or token to any server that
    it names. Runs of other hosts are left alone: this host can't see whether they are running.
    """
    found = LeftOver()
    learn(uri)
    for folder in folders(outputs, PENDING):
        if folder.is_elsewhere or folder.is_running:
            continue
        if not fits(folder.uri, uri):
            secret = " (with its password)" if HIDDEN in folder.uri else ""
            how = f"deliver it with: {' '.join(call('sync'))} tracking.uri={folder.uri}{secret}"
            found.problems.append(f"{folder.path}: belongs to another store; {how}")
            continue
        try:
            folder.require_plain()
            with alone(folder.path):
                found.delivered += _deliver_dead(folder, uri)
        except Timeout:
            continue  # another process is delivering it
        except Exception as error:  # a store may fail in any way; other runs may still succeed
            found.problems.append(f"{folder.path}: {line(error)}")
    return found


def _deliver_dead(folder: RunFolder, uri: str) -> bool:
    """Deliver the folder of a process that has ended, and return whether this was done.

    The folder's lock is held only briefly, because the run may be resumed at any time.
    """
    try:
        with held(folder.path, patience_s=0):
            outputs, folder = folder.outputs, RunFolder.read(folder.path)
            folder.outputs = outputs
            if folder.is_running:
                return False
            delivery = Delivery(folder.path, uri)
            _append_end(folder, delivery)
    except InputError:
        return False  # resumed a moment ago
    delivery.send()
    if not delivery.run_id and (
        folder.status == "FINISHED" or any((folder.path / "checkpoints").glob("*.ckpt"))
    ):
        message = "its journal is truncated or missing, so its run is unknown"
        raise ValueError(f"{message}; resume={folder.path} records it again from its checkpoint")
    try:
        with held(folder.path, patience_s=0):
            if not delivery.waiting:
                folder.delivered()
    except InputError:
        return False  # resumed meanwhile: that process delivers the rest
    return True


def _append_end(folder: RunFolder, delivery: Delivery) -> None:
    """Append the end of the run to the journal, if a killed process could not do so."""
    file = folder.path / JOURNAL
    last = ""
    for record in records.read(file):
        last = record["kind"]
    # The journal is gone, but the store holds the run.
    is_lost = not last and delivery.run_id and not delivery.has_ended
    if (not last and not is_lost) or last == "end":
        return
    # The run's last activity. Opening the journal for writing would change this time.
    died = file.stat().st_mtime if file.exists() else time.time()
    written = Journal(file)
    if (folder.path / LAST_CHECKPOINT).exists():  # so that another machine can resume from it
        written.append(
            {"kind": "artifact", "file": LAST_CHECKPOINT, "folder": "checkpoints", "move": False}
        )
    written.append({"kind": "end", "status": "KILLED", "time": int(died * 1000)})
    written.close()
    folder.close("KILLED")


def end_lost_trials(uri: str, sweep: str, numbers: Collection[int]) -> None:
    """End the MLflow runs of trials that started on a lost machine and were finished on another.

    No other process can end these runs. If the store can't be reached, they stay as they are.
    sweep: the sweep's name. numbers: the numbers of its trials that are over.
    """
    from tunebook.tracking.store import open_client

    try:
        client = open_client(uri)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        for run in client.search_runs(
            ids, f"attributes.status = 'RUNNING' and tags.`sweep.name` = '{sweep}'"
        ):
            if (
                run.data.tags.get(SWEEP_TRIAL, "").isdigit()
                and int(run.data.tags[SWEEP_TRIAL]) in numbers
            ):
                client.set_tag(run.info.run_id, SWEEP_STATE, "lost")
                client.set_terminated(run.info.run_id, "KILLED")
    except Exception as error:  # a store may fail in any way
        log.warning("runs of lost machines stay RUNNING in MLflow: %s", line(error))
