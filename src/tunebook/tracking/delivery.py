"""Send the records that wait in a run's journal to the store, in order.

A record that can't be sent is skipped, so that it does not hold up the others.
"""

import logging
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from filelock import FileLock

from tunebook.redaction import redact
from tunebook.run_folder import RunFolder
from tunebook.tracking import journal
from tunebook.tracking.arrived import JOURNAL, DeliveryState
from tunebook.tracking.journal import Record
from tunebook.tracking.records import problem_of
from tunebook.tracking.sending import Sender, UnsendableError, is_refusal

log = logging.getLogger(__name__)

LOCK = ".delivery.lock"
SHOWN = 3  # reasons in one line
TRIES = 3  # before a refusal is accepted
# Kind -> the field that two records have in common if the later one replaces the earlier one.
REPLACED_BY = {"artifact": "file", "model": "folder"}


def alone(folder: Path) -> FileLock:
    """Return the lock that a process must hold to deliver a folder.

    Entering it raises filelock.Timeout if another process holds it.
    """
    return FileLock(folder / LOCK, timeout=0)


class Delivery:
    """Send the part of a run's folder that the store at `uri` has not received yet.

    Only one process at a time delivers a folder: see `alone`.
    writing: the lock that is held while a file of the folder is put in place or removed.
    """

    def __init__(self, folder: Path, uri: str, writing: "threading.Lock | None" = None) -> None:
        self.folder, self.uri = folder, uri
        self.writing = writing or threading.Lock()
        self.reload()

    def reload(self) -> None:
        """Read from the disk what has arrived; another process may have delivered something."""
        self.arrived = DeliveryState.read(self.folder, self.uri)
        self._sender = Sender(self.folder, self.uri, self.arrived, self.writing)
        self._is_checked = not self.arrived.run_id

    @property
    def run_id(self) -> str:
        """Return the run's id in the store, or "" until the run is there."""
        return self.arrived.run_id

    @property
    def experiment_id(self) -> str:
        """Return the id of the run's experiment, or "" until the run is there."""
        return self.arrived.experiment_id

    @property
    def has_ended(self) -> bool:
        """Return whether the store knows how the run ended."""
        return self.arrived.has_ended

    @property
    def offset(self) -> int:
        """Return the number of bytes of the journal that have arrived."""
        return self.arrived.offset

    def _remember(self, offset: int) -> None:
        self.arrived.offset = offset
        self.arrived.write(self.folder)

    def take_over(self, run_id: str, experiment_id: str) -> None:
        """Mark the whole journal as delivered, to a run that MLflow holds already."""
        self.arrived.run_id, self.arrived.experiment_id, self.arrived.has_ended = (
            run_id,
            experiment_id,
            True,
        )
        self._remember((self.folder / JOURNAL).stat().st_size)

    @property
    def waiting(self) -> bool:
        """Return whether the journal holds more than has arrived."""
        path = self.folder / JOURNAL
        return path.exists() and path.stat().st_size > self.offset

    def send(self) -> None:
        """Send the waiting records.

        Raises whatever MLflow raises. The records that arrived before the error are remembered.
        """
        self._require_our_run()
        path, given_up = self.folder / JOURNAL, list[str]()
        newest = {_identity(record): offset for record, offset in journal.read(path, self.offset)}
        try:
            for kind, records, offset in _calls(journal.read(path, self.offset)):
                identity = _identity(records[0])
                is_newest = identity is None or newest.get(identity, 0) <= offset
                if is_newest and (reason := self._send_or_skip(kind, records)):
                    given_up.append(reason)
                self._remember(offset)
        finally:
            if given_up:
                message = "%s of %s can't be delivered, skipped: %s"
                count = f"{len(given_up)} record{'s' if len(given_up) > 1 else ''}"
                reasons = list(dict.fromkeys(given_up))
                more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
                log.warning(message, count, self.folder, "; ".join(reasons[:SHOWN]) + more)
        self.arrived.uncertain = False

    def _require_our_run(self) -> None:
        """Deliver from the first record again if the store does not hold this run.

        The store may have lost the run, or hold another run with the same id.
        """
        if self._is_checked or not self.waiting:
            return
        try:
            key = RunFolder.read(self.folder).key
        except (OSError, ValueError, KeyError, TypeError):
            key = ""
        if key and not self._sender.is_ours(key):
            log.warning(
                "%s: MLflow does not have this run as %s; delivering it from its start",
                self.folder,
                self.run_id,
            )
            self.arrived.run_id, self.arrived.offset, self.arrived.uncertain = "", 0, True
        self._is_checked = True

    def _send_or_skip(self, kind: str, records: list[Record]) -> str:
        """Send the records and return "", or return why they can't be sent.

        Raising an error for what MLflow rejects would hold up all the records that follow.
        MLflow also refuses to insert a row (a data set that is new to the experiment) that another
        run inserts at the same moment. A retry finds that row, so refused calls are retried.
        """
        if problem := problem_of(records[0]):
            return f"a record of kind {str(records[0].get('kind'))[:20]!r} {problem}"
        for left in reversed(range(TRIES)):
            try:
                self._sender.send(kind, records)
                return ""
            except UnsendableError as error:
                return line(error)
            except Exception as error:
                self.arrived.uncertain = True
                if not is_refusal(error) or kind == "run":
                    raise
                if not left:
                    return line(error)
            time.sleep(0.1)
        return ""


def _identity(record: Record) -> tuple[str, str] | None:
    """Return what a later record must have in common with this one to replace it.

    None for a record that no other replaces.
    """
    kind = record.get("kind")
    key = REPLACED_BY.get(kind) if isinstance(kind, str) else None
    return None if key is None or problem_of(record) else (str(kind), str(record[key]))


def _calls(records: Iterator[tuple[Record, int]]) -> Iterator[tuple[str, list[Record], int]]:
    """Yield (kind, records, offset after them) for each call to MLflow.

    Neighbouring records of points share a call. Every other record has its own call.
    """

    def group_of(item: tuple[int, tuple[Record, int]]) -> tuple[str, int]:
        number, (record, _) = item
        is_points = record.get("kind") == "points" and not problem_of(record)
        return str(record.get("kind")), -1 if is_points else number

    for (kind, _), group in groupby(enumerate(records), key=group_of):
        found = [item for _, item in group]
        yield kind, [record for record, _ in found], found[-1][1]


def line(error: Exception) -> str:
    """Return an error's text as one line of at most 200 characters, without secrets."""
    message = str(error).partition("[SQL")[0]  # SQLAlchemy adds the statement and all its values
    text = " ".join(redact(message).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
