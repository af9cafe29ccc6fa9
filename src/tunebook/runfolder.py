"""A run's folder: what it says of itself, which process works in it, and the list of folders that a later start looks through.

`run.json` lies in the folder. Beside all runs, `<outputs>/.runs/<key>` links to each folder, wherever it is, and
`<outputs>/.pending/<key>` to those whose record MLflow has not wholly received.
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
from typing import Self

import psutil
from filelock import FileLock, Timeout

from tunebook.checks import InputError
from tunebook.untrusted import KEY, read_json_object, require_key, require_plain

FILE = "run.json"
LOCK = ".run.lock"  # held by the process that works in the folder
LOCK_PATIENCE_S = 5.0  # delivery holds the lock for moments, a run for as long as it works
CONTENTS = ("checkpoints", "artifacts", "model")  # subfolders of a run's folder
LAST, PREVIOUS, BEST = (
    "last.ckpt",
    "previous.ckpt",
    "best.ckpt",
)  # files in its folder `checkpoints`
LAST_CHECKPOINT = f"checkpoints/{LAST}"
RUNS, PENDING = ".runs", ".pending"


def write_atomically(path: Path, data: bytes, keep: Path | None = None, mode: int = 0o666) -> None:
    """Either the old file is there or the new one, never half of one. The data is on the disk before the name is.

    The temporary file lies in the same folder: from another file system it would be copied, not renamed. keep: the name that the
    old file gets; between the two renamings only that one is there. mode: who may read the new file, less the umask.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)  # "x" below: a link of this name would be written through
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(
        OSError
    ):  # a file system that can't: the rename is as safe as it gets there
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@dataclass
class RunFolder:
    """key: the run's own name for itself, which MLflow keeps as the tag `tunebook.key`."""

    path: Path
    outputs: Path
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    name: str = ""
    kind: str = "run"  # or "sweep"
    overrides: list[str] = field(default_factory=list)  # what was asked for, without secrets
    origin: str = ""  # the checkpoint that it began with, where that came from elsewhere
    uri: str = ""  # of the tracking store, without secrets; empty where nothing is tracked
    status: str = "RUNNING"
    host: str = ""
    pid: int = 0
    process_started: float = 0.0  # tells this process from a later one with its number
    opened: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `run.json` says. ValueError, OSError where there is none that can be read."""
        found = read_json_object(path / FILE)
        fields = {
            key: found[key] for key in cls.__dataclass_fields__ if key in found and key != "path"
        }
        for key, value in fields.items():
            _require_type(key, value)
        require_key(fields["key"], "key")
        return cls(path=path, **fields | {"outputs": Path(fields["outputs"])})

    def require_plain(self) -> None:
        """ValueError if the folder holds a symbolic link or a special file: those lead out of it, or block."""
        require_plain(self.path, CONTENTS)

    def open(self) -> None:
        """This process works here from now on. InputError if another process does, or the key is another run's."""
        self._require_own_key()
        self.path.mkdir(parents=True, exist_ok=True)
        acquire(self.path)
        self._require_unfinished()
        self.host, self.pid, self.opened = socket.gethostname(), os.getpid(), time.time()
        self.process_started = psutil.Process().create_time()
        self.status = "RUNNING"
        self._link()  # so that a kill leaves no folder that cannot be found
        self.write()
        self._link()  # whoever lists links removes those to folders that say nothing of themselves yet

    def _link(self) -> None:
        _link(self.outputs / RUNS / self.key, self.path)
        if self.uri:
            _link(self.outputs / PENDING / self.key, self.path)

    def _require_unfinished(self) -> None:
        """InputError if another process has finished the run since this one read its state."""
        try:
            there = RunFolder.read(self.path).status
        except (OSError, ValueError, KeyError, TypeError):
            return  # a new folder
        if there == "FINISHED" != self.status:
            release(self.path)
            raise InputError(f"{self.path}: another process has finished this run meanwhile")

    def _require_own_key(self) -> None:
        """InputError if the key is that of another run's folder here: a tracker's tags can be copied, and its links would be lost."""
        there = (self.outputs / RUNS / self.key).resolve()
        if there != self.path.resolve() and (there / FILE).is_file():
            raise InputError(
                f"{self.path}: has the key of another run, {there}; resume that one, or remove its folder"
            )

    def close(self, status: str) -> None:
        """The work has ended. (A disk too full to say so: the journal says it.)"""
        self.status = status
        with contextlib.suppress(OSError):
            self.write()
        release(self.path)

    def delivered(self) -> None:
        """MLflow has everything."""
        (self.outputs / PENDING / self.key).unlink(missing_ok=True)

    def write(self) -> None:
        """Puts down what is known."""
        record = {key: value for key, value in asdict(self).items() if key != "path"}
        write_atomically(
            self.path / FILE, json.dumps(record | {"outputs": str(self.outputs)}, indent=1).encode()
        )

    @property
    def is_elsewhere(self) -> bool:
        """Whether another host opened it last: whether its process lives can't be seen from here."""
        return self.host != socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether the process that opened it last still runs, on this host."""
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
    """ValueError if a value in `run.json` is not of its field's type."""
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


_held: dict[Path, FileLock] = {}  # by this process


def acquire(folder: Path, patience_s: float = LOCK_PATIENCE_S) -> None:
    """Take the lock of a run's folder for this process, until `release` or its end. InputError if another process has it.

    It is the operating system's lock: it ends with the process, however that ends.
    """
    folder = folder.resolve()
    if folder in _held:
        return
    lock = FileLock(folder / LOCK, timeout=patience_s, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another process works in this run's folder") from None
    except (OSError, NotImplementedError):
        return  # a file system without locks, or one that is full: `is_alive` is what is left
    _held[folder] = lock


def release(folder: Path) -> None:
    """Give back what `acquire` took."""
    lock = _held.pop(folder.resolve(), None)
    if lock is not None:
        lock.release()


@contextlib.contextmanager
def held(folder: Path, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
    """Hold a folder's lock in the block. InputError if another process has it."""
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
    """Yield every run that is linked under its own key; other links of keys are removed where their folder is gone."""
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
        if folder.key != link.name:  # the folder is another run's by now
            link.unlink(missing_ok=True)
            continue
        folder.outputs = outputs  # whatever the file says: links are made and removed there
        yield folder
