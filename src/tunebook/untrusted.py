"""Read what may come from another person: run folders, journals, tracking stores, checkpoints.

An untrusted name becomes a path only after `inside` has checked it. A file is read only if it is a
regular file of a sensible size: a FIFO would block, a symbolic link would lead out of the folder.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import yaml

KEY = re.compile("[0-9a-f]{32}")
MAX_JSON_BYTES = 1 << 20
MAX_YAML_CHARACTERS = 1 << 18  # a real config has at most a few thousand
MAX_ALIASES = 8
MAX_DEPTH = 40  # levels of nesting that a config or a record may have
TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = ("str", "int", "float", "bool", "null", "map", "seq")
MAX_LINE = 1 << 24  # bytes


def require_key(value: object, what: str) -> str:
    """Return `value` if it is a run's key or an MLflow run id: 32 hexadecimal digits.

    Raises ValueError otherwise. what: the value's name, for the error.
    """
    if not isinstance(value, str) or not KEY.fullmatch(value):
        raise ValueError(f"{what} is not 32 hexadecimal digits")
    return value


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; raise OSError for anything else, such as a symbolic link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """Return a regular file's content; raise OSError for others and for more than `limit` bytes."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"{path} is longer than {limit} bytes")
    return data


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text; raise ValueError if it is invalid or nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise OSError or ValueError if there is none."""
    found = parse_json(read_regular(path))
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")
    return found


def inside(folder: Path, name: object) -> Path:
    """Return the path of `name` in `folder`; raise ValueError if it leads out or through a link."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError("is not the name of a file")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or not parts:
        raise ValueError("is outside the run's folder")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ValueError(f"is reached through the symbolic link {path}")
    return path


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield everything in a folder and below, without following symbolic links."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path))


def require_plain(folder: Path, parts: tuple[str, ...]) -> None:
    """Raise ValueError unless a folder contains only regular files and folders.

    The subfolders named in `parts` are searched to any depth. Hard links are refused as well.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    found = list(os.scandir(folder))
    for name in parts:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            found += _entries(folder / name)
    for entry in found:
        if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
            kind = "a symbolic link" if entry.is_symlink() else "not a regular file"
            raise ValueError(f"{entry.path} is {kind}")
        if (
            entry.is_file(follow_symlinks=False)
            and os.stat(entry.path, follow_symlinks=False).st_nlink > 1
        ):
            raise ValueError(
                f"{entry.path} is a hard link: writing to it would change another file"
            )


def require_plain_yaml(text: str) -> str:
    """Return a YAML text if it contains only plain values and is safe to load.

    Otherwise raises ValueError, which names the line. Aliases of aliases let a short text expand to
    gigabytes, and deep nesting ends in a RecursionError.
    """
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"is longer than {MAX_YAML_CHARACTERS} characters")
    depth = aliases = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            opens, closes = yaml.CollectionStartEvent, yaml.CollectionEndEvent
            depth += isinstance(event, opens) - isinstance(event, closes)
            aliases += isinstance(event, yaml.AliasEvent)
            tag = getattr(event, "tag", None)
            if tag and tag.removeprefix(TAG) not in PLAIN_TAGS:
                line = event.start_mark.line + 1
                raise ValueError(
                    f"contains a value of type {tag} in line {line}; only plain values are allowed"
                )
            if depth > MAX_DEPTH or aliases > MAX_ALIASES:
                limits = f"allowed: {MAX_DEPTH} levels and {MAX_ALIASES} aliases"
                raise ValueError(f"is nested too deeply or repeats itself too often; {limits}")
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ValueError(f"is not plain YAML{line}: {problem}") from None
    return text
