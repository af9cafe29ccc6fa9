"""Delivers what waits in a run's journal: the records in order, with one that can't be sent not in the way of the others."""

import logging
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from filelock import FileLock

from tunebook.runfolder import RunFolder
from tunebook.secrets import redact
from tunebook.tracking import journal
from tunebook.tracking.arrived import JOURNAL, Arrived
from tunebook.tracking.journal import Record
from tunebook.tracking.records import problem_of
from tunebook.tracking.sending import Sender, UnsendableError, is_refusal

log = logging.getLogger(__name__)

LOCK = ".delivery.lock"
SHOWN = 3  # reasons in one line
TRIES = 3  # before a refusal is believed
REPLACED_BY = {
    "artifact": "file",
    "model": "folder",
}  # kind -> what two records share if the later one replaces the earlier


def alone(folder: Path) -> FileLock:
    """Return the lock that one process at a time holds to deliver a folder. Entering it raises filelock.Timeout."""
    return FileLock(folder / LOCK, timeout=0)


class Delivery:
    """What of a run's folder has arrived in the store at `uri`, and the sending of the rest.

    One process at a time delivers a folder: see `alone`. writing: held while a file of the folder is put in its place.
    """

    def __init__(self, folder: Path, uri: str, writing: "threading.Lock | None" = None) -> None:
        self.folder, self.uri = folder, uri
        self.writing = writing or threading.Lock()
        self.reload()

    def reload(self) -> None:
        """Read from the disk what has arrived: another process may have delivered meanwhile."""
        self.arrived = Arrived.read(self.folder, self.uri)
        self._sender = Sender(self.folder, self.uri, self.arrived, self.writing)
        self._is_checked = not self.arrived.run_id

    @property
    def run_id(self) -> str:
        """The run's id in the store; "" until it is there."""
        return self.arrived.run_id

    @property
    def experiment_id(self) -> str:
        """The id of its experiment; "" until it is there."""
        return self.arrived.experiment_id

    @property
    def has_ended(self) -> bool:
        """Whether the store knows how the run ended."""
        return self.arrived.has_ended

    @property
    def offset(self) -> int:
        """Bytes of the journal that have arrived."""
        return self.arrived.offset

    def _remember(self, offset: int) -> None:
        self.arrived.offset = offset
        self.arrived.write(self.folder)

    def take_over(self, run_id: str, experiment_id: str) -> None:
        """The journal is a run's that MLflow has already, the whole of it."""
        self.arrived.run_id, self.arrived.experiment_id, self.arrived.has_ended = (
            run_id,
            experiment_id,
            True,
        )
        self._remember((self.folder / JOURNAL).stat().st_size)

    @property
    def waiting(self) -> bool:
        """Whether the journal holds more than has arrived."""
        path = self.folder / JOURNAL
        return path.exists() and path.stat().st_size > self.offset

    def send(self) -> None:
        """Sends what is waiting. Raises whatever MLflow raises; what had arrived until then is remembered."""
        self._require_our_run()
        path, given_up = self.folder / JOURNAL, list[str]()
        newest = {_identity(record): offset for record, offset in journal.read(path, self.offset)}
        try:
            for kind, records, offset in _calls(journal.read(path, self.offset)):
                identity = _identity(records[0])
                is_newest = identity is None or newest.get(identity, 0) <= offset
                if is_newest and (reason := self._send_or_leave(kind, records)):
                    given_up.append(reason)
                self._remember(offset)
        finally:
            if given_up:
                message = "%s of %s can't be delivered, left out: %s"
                count = f"{len(given_up)} record{'s' if len(given_up) > 1 else ''}"
                reasons = list(dict.fromkeys(given_up))
                more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
                log.warning(message, count, self.folder, "; ".join(reasons[:SHOWN]) + more)
        self.arrived.uncertain = False

    def _require_our_run(self) -> None:
        """Begin at the start where the store does not hold the run that it is said to hold, or holds another's of its id."""
        if self._is_checked or not self.waiting:
            return
        try:
            key = RunFolder.read(self.folder).key
        except (OSError, ValueError, KeyError, TypeError):
            key = ""
        if key and not self._sender.is_ours(key):
            log.warning(
                "%s: MLflow does not hold this run as %s; it is delivered from its start",
                self.folder,
                self.run_id,
            )
            self.arrived.run_id, self.arrived.offset, self.arrived.uncertain = "", 0, True
        self._is_checked = True

    def _send_or_leave(self, kind: str, records: list[Record]) -> str:
        """Send, or return why that is not possible: what MLflow refuses would hold up all that follows.

        It says the same of a row that another run inserts in the same moment (a data set that is new to the experiment), which
        another try finds there.
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
    """Return what a later record replaces this one by; None for a record that stands for itself."""
    kind = record.get("kind")
    key = REPLACED_BY.get(kind) if isinstance(kind, str) else None
    return None if key is None or problem_of(record) else (str(kind), str(record[key]))


def _calls(records: Iterator[tuple[Record, int]]) -> Iterator[tuple[str, list[Record], int]]:
    """(kind, records, offset after them) of each call: neighbouring points share one, everything else is alone."""

    def group_of(item: tuple[int, tuple[Record, int]]) -> tuple[str, int]:
        number, (record, _) = item
        is_points = record.get("kind") == "points" and not problem_of(record)
        return str(record.get("kind")), -1 if is_points else number

    for (kind, _), group in groupby(enumerate(records), key=group_of):
        found = [item for _, item in group]
        yield kind, [record for record, _ in found], found[-1][1]


def line(error: Exception) -> str:
    """Return an error's text as one line of at most 200 characters, without secrets."""
    said = str(error).partition("[SQL")[0]  # SQLAlchemy adds the statement and all its values
    text = " ".join(redact(said).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
