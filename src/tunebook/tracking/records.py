"""Check the content of the records in a journal.

A journal may come from another person, and its checksums do not prove who wrote it.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tunebook.tracking import journal
from tunebook.tracking.journal import Record
from tunebook.tracking.view import KIND_TAG, PREFIX
from tunebook.untrusted import KEY

STATUSES = ("FINISHED", "FAILED", "KILLED")
MAX_INT = 2**63


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # one half of a surrogate pair
        return False
    return "\0" not in value


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_text(key) and _is_text(item) for key, item in value.items()
    )


def _is_int(value: object) -> bool:
    return type(value) is int and -MAX_INT <= value < MAX_INT


def _is_key(value: object) -> bool:
    return isinstance(value, str) and KEY.fullmatch(value) is not None


def _is_point(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    name, figure, at, step = value
    is_number = isinstance(figure, float) or _is_int(figure)
    return _is_text(name) and is_number and figure == figure and _is_int(at) and _is_int(step)


def _is_place(value: object) -> bool:
    """Return whether a value names a folder of artifacts: a relative path without "..".

    "" names the top folder.
    """
    return (
        _is_text(value)
        and not str(value).startswith("/")
        and ".." not in PurePosixPath(str(value)).parts
    )


def _is_view(value: object) -> bool:
    """Return whether a value holds only tags that make up a view.

    Other tags would change the experiment's own information.
    """
    return (
        isinstance(value, dict)
        and _is_texts(value)
        and all(key == KIND_TAG or key.startswith(PREFIX) for key in value)
    )


Check = Callable[[Any], bool]
KINDS: dict[str, dict[str, Check]] = {
    "run": {
        "key": _is_key,
        "experiment": lambda value: _is_text(value) and bool(value.strip()),
        "name": _is_text,
        "parent": lambda value: value == "" or _is_key(value),
        "params": _is_texts, "tags": _is_texts, "time": _is_int,
    },
    "points": {"points": lambda value: isinstance(value, list) and all(map(_is_point, value))},
    "artifact": {
        "file": _is_text, "folder": _is_place, "move": lambda value: isinstance(value, bool),
    },
    "dataset": dict.fromkeys(("name", "digest", "profile", "source", "context"), _is_text),
    "model": {
        "folder": _is_text,
        "name": lambda value: _is_text(value) and re.fullmatch(r"[\w-]+", value) is not None,
    },
    "tags": {"tags": _is_texts},
    "view": {"tags": _is_view},
    "again": {},
    "end": {"status": lambda value: value in STATUSES, "time": _is_int},
}  # fmt: skip


def problem_of(record: Record) -> str:
    """Return what is wrong with a record, in a few words, or "" if it can be used."""
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return "is of an unknown kind"
    for key, fits in KINDS[kind].items():
        if key not in record or not fits(record[key]):
            return f"its {key} is missing or invalid"
    return ""


def read(path: Path) -> Iterator[Record]:
    """Yield the usable records of a journal, in order."""
    for record, _ in journal.read(path):
        if not problem_of(record):
            yield record
