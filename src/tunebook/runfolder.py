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
from typing import Any, Self

import psutil

FILE = "run.json"
LAST_CHECKPOINT = "checkpoints/last.ckpt"  # where it is, in a run's folder
RUNS, PENDING = ".runs", ".pending"


def write_atomically(path: Path, data: bytes, keep: Path | None = None, mode: int = 0o666) -> None:
    """Either the old file is there or the new one, never half of one. The data is on the disk before the name is.

    The temporary file lies in the same folder: from another file system it would be copied, not renamed. keep: the name that the
    old file gets; between the two renamings only that one is there. mode: who may read the new file, less the umask.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # a file system that can't: the rename is as safe as it gets there
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
        found: dict[str, Any] = json.loads((path / FILE).read_text())
        fields = {key: found[key] for key in cls.__dataclass_fields__ if key in found and key != "path"}
        return cls(path=path, **fields | {"outputs": Path(fields["outputs"])})

    def open(self) -> None:
        """This process works here from now on."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.host, self.pid, self.opened = socket.gethostname(), os.getpid(), time.time()
        self.process_started = psutil.Process().create_time()
        self.status = "RUNNING"
        self.write()
        _link(self.outputs / RUNS / self.key, self.path)
        if self.uri:
            _link(self.outputs / PENDING / self.key, self.path)

    def close(self, status: str) -> None:
        """The work has ended. (A disk too full to say so: the journal says it.)"""
        self.status = status
        with contextlib.suppress(OSError):
            self.write()

    def delivered(self) -> None:
        """MLflow has everything."""
        (self.outputs / PENDING / self.key).unlink(missing_ok=True)

    def write(self) -> None:
        """Puts down what is known."""
        record = {key: value for key, value in asdict(self).items() if key != "path"}
        write_atomically(self.path / FILE, json.dumps(record | {"outputs": str(self.outputs)}, indent=1).encode())

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
            return bool(process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.process_started) < 1)
        except psutil.Error:
            return False


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f"{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def folders(outputs: Path, which: str = RUNS) -> Iterator[RunFolder]:
    """Every run that is linked; links to folders that are gone are removed."""
    for link in sorted((outputs / which).glob("*")):
        path = link.resolve()
        try:
            yield RunFolder.read(path)
        except (OSError, ValueError, KeyError, TypeError):
            if not (path / FILE).exists():
                link.unlink(missing_ok=True)
