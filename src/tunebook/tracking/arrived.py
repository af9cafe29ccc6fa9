"""Remember in the file `delivered.json` how much of a run's journal a store has received.

When the file is read, it is checked against the journal that it refers to.
"""

import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tunebook.redaction import redact
from tunebook.run_folder import write_atomically
from tunebook.untrusted import open_regular, read_json_object, require_key

log = logging.getLogger(__name__)

JOURNAL, DELIVERED = "journal.jsonl", "delivered.json"


@dataclass
class DeliveryState:
    """Hold what the store at `uri` (written without its secrets) has received of a run.

    offset: bytes of the journal that have arrived.
    uncertain: whether an earlier call may have arrived without being recorded here.
    rebuilt: whether part of the journal was lost and recorded again. The store may then hold points
    that will be sent again with another timestamp.
    """

    uri: str
    run_id: str = ""
    experiment_id: str = ""
    offset: int = 0
    has_ended: bool = False
    rebuilt: bool = False
    uncertain: bool = False

    @classmethod
    def read(cls, folder: Path, uri: str) -> Self:
        """Return the state in a folder's `delivered.json` for the store at `uri`.

        If the file is missing, damaged or about another store, nothing counts as arrived.
        """
        fresh = cls(redact(uri))
        # Until it is known what has arrived, a run is looked for before it is created.
        fresh.uncertain = True
        try:
            found = read_json_object(folder / DELIVERED)
            arrived = cls(redact(uri), _id(found["run_id"]), _experiment(found["experiment_id"]))
            arrived.offset, arrived.has_ended = found["offset"], found["has_ended"] is True
            arrived.rebuilt = found.get("rebuilt") is True
            arrived.uncertain = arrived.offset == 0 or found.get("uncertain") is True
            if type(arrived.offset) is not int or arrived.offset < 0:
                raise ValueError("offset is not a number of bytes")
        except FileNotFoundError:
            fresh.uncertain = (folder / JOURNAL).exists()
            return fresh
        except (OSError, ValueError, KeyError, TypeError):
            return fresh
        if found.get("uri", arrived.uri) != arrived.uri:
            return fresh  # the file is about another store
        if not ends_a_line(folder / JOURNAL, arrived.offset):
            message = "%s: a part that was delivered is missing; delivering it from its start"
            log.warning(message, folder / JOURNAL)
            arrived.offset, arrived.uncertain, arrived.rebuilt = 0, True, True
            arrived.write(folder)  # before the journal grows and appears to be complete again
        return arrived

    def write(self, folder: Path) -> None:
        """Write this state to the disk.

        If the disk is full, the old state stays there, and a later start sends some records again.
        """
        try:
            write_atomically(folder / DELIVERED, json.dumps(asdict(self)).encode())
        except OSError:
            self.uncertain = True


def run_id_of(folder: Path) -> str:
    """Return the MLflow id of the run in a folder, or "" if it is not known."""
    try:
        return _id(read_json_object(folder / DELIVERED)["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _id(value: object) -> str:
    return "" if value == "" else require_key(value, "run_id")


def _experiment(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\d{0,40}", value):
        raise ValueError("experiment_id is not a number")
    return value


def ends_a_line(path: Path, offset: int) -> bool:
    """Return whether a line of the journal ends just before byte `offset`."""
    if offset == 0:
        return True
    try:
        with open_regular(path) as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False
