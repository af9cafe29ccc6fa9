"""Hand over run folders as another person might, and record the requests to a server."""

import http.server
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers import faults
from tests.helpers.runs import RUN, folder_of_run, with_store
from tunebook.tracking import journal
from tunebook.tracking.arrived import JOURNAL


def make_half(folder: Path, *settings: str, step: int = 18) -> Path:
    """Kill a run in its second epoch and return its folder."""
    log = folder / "log.txt"
    code = faults.run_train(
        (*RUN, *settings, *with_store(folder)), log, faults.signal_in_training, signal.SIGKILL, step
    )
    assert code == -signal.SIGKILL, log.read_text()
    return folder_of_run(folder)


def hand_over(run_folder: Path, to: Path) -> Path:
    """Copy a run's folder, as somebody who sends it would, and return the copy."""
    shutil.copytree(run_folder, to, symlinks=True)
    return to


def change_run_json(folder: Path, **changes: Any) -> None:
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def tell(folder: Path, *records: Any) -> None:
    """Append records to a run's journal, with valid checksums, which prove nothing."""
    with (folder / JOURNAL).open("ab") as file:
        for record in records:
            file.write(journal.encode(record))


def listing(folder: Path) -> dict[str, bytes]:
    """Return the content of every file, folder and link below a folder, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = (
            b"-> " + str(path.readlink()).encode()
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else b""
        )
        found[str(path.relative_to(folder))] = content
    return found


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """Start a server on loopback and yield its address and the requests that it gets."""
    called: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_error(404)

        do_POST = do_PUT = do_PATCH = do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", called
        server.shutdown()
