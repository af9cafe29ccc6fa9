"""Manage a run's folder: its record of itself, its lock, and the links by which it is found later.

The record is the file `run.json` in the folder. `<outputs>/.runs/<key>` is a link to each run's
folder, wherever it is. `<outputs>/.pending/<key>` is a link to each folder whose data MLflow has
not received completely.
"""

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

import psutil
from filelock import FileLock, Timeout

from tunebook.config.validation import InputError
from tunebook.untrusted import KEY, read_json_object, require_key, require_plain

FILE = "run.json"
LOCK = ".run.lock"  # held by the process that uses the folder
LOCK_PATIENCE_S = 5.0  # delivery holds the lock briefly, a run until its end
CONTENTS = ("checkpoints", "artifacts", "model")  # subfolders of a run's folder
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"  # in the subfolder `checkpoints`
LAST_CHECKPOINT = f"checkpoints/{LAST}"
RUNS, PENDING = ".runs", ".pending"


def write_atomically(path: Path, data: bytes, keep: Path | None = None, mode: int = 0o666) -> None:
    """Write a file's content atomically; see `open_atomically`."""
    with open_atomically(path, keep, mode) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomically(path: Path, keep: Path | None = None, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file for writing atomically: at any time, either the old or the new content is there.

    The data is flushed to disk before the file is renamed into place, at the end of the block. If
    the block raises, the old content stays. The temporary file is in the same folder, because
    renaming does not work across file systems. keep: a new name for the old file; between the two
    renames only that one exists. mode: the new file's permissions, before the umask.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)  # a link of this name; "x" below refuses one as well
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # On a file system that can't flush a folder, the rename is as safe as it can be.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@dataclass
class RunFolder:
    """Hold the content of a run's `run.json`, and lock the run's folder for one process at a time.

    key: the run's unique id, which its MLflow run has as the tag `tunebook.key`.
    """

    path: Path
    outputs: Path
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    name: str = ""
    kind: str = "run"  # or "sweep"
    overrides: list[str] = field(default_factory=list)  # from the command line, without secrets
    origin: str = ""  # the checkpoint that it started from, if that came from elsewhere
    uri: str = ""  # of the tracking store, without secrets; empty if nothing is tracked
    status: str = "RUNNING"
    host: str = ""
    pid: int = 0
    process_started: float = 0.0  # distinguishes the process from a later one with the same id
    opened: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what `run.json` says.

        Raises ValueError or OSError if there is no such file, or if it can't be read.
        """
        found = read_json_object(path / FILE)
        fields = {
            key: found[key] for key in cls.__dataclass_fields__ if key in found and key != "path"
        }
        for key, value in fields.items():
            _require_type(key, value)
        require_key(fields["key"], "key")
        return cls(path=path, **fields | {"outputs": Path(fields["outputs"])})

    def require_plain(self) -> None:
        """Raise ValueError if the folder contains a symbolic link or a special file."""
        require_plain(self.path, CONTENTS)

    def open(self) -> None:
        """Reserve the folder for this process.

        Raises InputError if another process uses it, or if its key belongs to another run.
        """
        self._require_own_key()
        self.path.mkdir(parents=True, exist_ok=True)
        acquire(self.path)
        self._require_unfinished()
        self.host, self.pid, self.opened = socket.gethostname(), os.getpid(), time.time()
        self.process_started = psutil.Process().create_time()
        self.status = "RUNNING"
        self._link()  # first, so that the folder is found even if this process is killed here
        self.write()
        self._link()  # again: `folders` removes links to folders that have no `run.json` yet

    def _link(self) -> None:
        _link(self.outputs / RUNS / self.key, self.path)
        if self.uri:
            _link(self.outputs / PENDING / self.key, self.path)

    def _require_unfinished(self) -> None:
        """Raise InputError if another process has finished the run since this one read it."""
        try:
            status = RunFolder.read(self.path).status
        except (OSError, ValueError, KeyError, TypeError):
            return  # a new folder
        if status == "FINISHED" != self.status:
            release(self.path)
            raise InputError(f"{self.path}: another process has already finished this run")

    def _require_own_key(self) -> None:
        """Raise InputError if another run's folder has the same key, and would lose its links.

        This happens if the tag with the key was copied in the tracking store.
        """
        linked = (self.outputs / RUNS / self.key).resolve()
        if linked != self.path.resolve() and (linked / FILE).is_file():
            raise InputError(
                f"{self.path}: has the key of another run, {linked}; "
                "resume that one, or remove its folder"
            )

    def close(self, status: str) -> None:
        """Record how the run ended, and release the folder.

        If the disk is too full to write the record, the journal still has the status.
        """
        self.status = status
        with contextlib.suppress(OSError):
            self.write()
        release(self.path)

    def delivered(self) -> None:
        """Remove the link that marks the run as not yet delivered to MLflow."""
        (self.outputs / PENDING / self.key).unlink(missing_ok=True)

    def write(self) -> None:
        """Write `run.json`."""
        record = {key: value for key, value in asdict(self).items() if key != "path"}
        write_atomically(
            self.path / FILE, json.dumps(record | {"outputs": str(self.outputs)}, indent=1).encode()
        )

    @property
    def is_elsewhere(self) -> bool:
        """Return whether another host opened it last, whose processes can't be seen from here."""
        return self.host != socket.gethostname()

    @property
    def is_running(self) -> bool:
        """Return whether the run is still running, in a process on this host.

        A process such as a notebook's lives on after its run.
        """
        return self.status == "RUNNING" and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Return whether the process that opened it last is still running on this host."""
        if self.is_elsewhere:
            return False
        try:
            process = psutil.Process(self.pid)
            return bool(
                process.status() != psutil.STATUS_ZOMBIE
                and abs(process.create_time() - self.process_started) < 1
            )
        except psutil.Error:
            return False


TEXTS = ("outputs", "key", "name", "kind", "origin", "uri", "status", "host")


def _require_type(key: str, value: object) -> None:
    """Raise ValueError if a value in `run.json` does not have its field's type."""
    if key in TEXTS:
        fits = isinstance(value, str) and "\0" not in value
    elif key == "overrides":
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif key == "pid":
        fits = type(value) is int and 0 <= value < 2**31
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18
    if not fits:
        raise ValueError(f"{key} has the wrong type")


_held: dict[Path, FileLock] = {}  # the locks of this process, by folder


def acquire(folder: Path, patience_s: float = LOCK_PATIENCE_S) -> None:
    """Take the lock of a run's folder for this process, until `release`.

    It is an operating-system lock, which is released when the process ends for any reason.
    Raises InputError if another process has it.
    """
    folder = folder.resolve()
    if folder in _held:
        return
    lock = FileLock(folder / LOCK, timeout=patience_s, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another process is using this run's folder") from None
    except (OSError, NotImplementedError):
        return  # a file system without locks, or a full one; `is_alive` still guards the run
    _held[folder] = lock


def release(folder: Path) -> None:
    """Release the lock that `acquire` took."""
    lock = _held.pop(folder.resolve(), None)
    if lock is not None:
        lock.release()


@contextlib.contextmanager
def held(folder: Path, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
    """Hold a folder's lock within the block; raise InputError if another process has it."""
    held_before = folder.resolve() in _held
    acquire(folder, patience_s)
    try:
        yield
    finally:
        if not held_before:
            release(folder)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f"{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def folders(outputs: Path, which: str = RUNS) -> Iterator[RunFolder]:
    """Yield every run that is linked under its own key.

    Links whose folder is gone, or now belongs to another run, are removed.
    """
    for link in sorted((outputs / which).glob("*")):
        if not link.is_symlink() or not KEY.fullmatch(link.name):
            continue
        path = link.resolve()
        try:
            folder = RunFolder.read(path)
        except (OSError, ValueError, KeyError, TypeError):
            if not (path / FILE).exists():
                link.unlink(missing_ok=True)
            continue
        if folder.key != link.name:  # the folder now belongs to another run
            link.unlink(missing_ok=True)
            continue
        folder.outputs = outputs  # whatever the file says, because the links are here
        yield folder
