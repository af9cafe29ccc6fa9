"""Serve MLflow's UI on this machine only, and print the addresses of the views in it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import webbrowser
from typing import IO, Annotated, Any

from pydantic import Field

from tunebook.config.validation import InputError, SettingError, validate_value
from tunebook.program import has_scripts
from tunebook.tracking import bound_server, view
from tunebook.tracking.store import open_client, require_mlflow, require_store, sqlite_path

HOST = "127.0.0.1"
TYPES: dict[str, Any] = {"port": Annotated[int, Field(ge=1, le=65535)], "browser": bool}
MAX_SHOWN = 6
MAX_END_S = 5.0  # that the server may take to shut down by itself
# Without these, MLflow starts a dozen processes that take 3 GB, runs pickles from the models that
# it shows, and sends telemetry.
SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def check(cfg: Any) -> None:
    """Raise SettingError or InputError if a setting can't be used."""
    for key, kind in TYPES.items():
        validate_value(key, cfg[key], kind)
    require_mlflow(cfg)
    uri = str(cfg.tracking.uri)
    if sqlite_path(uri) is None:
        raise SettingError("tracking.uri", uri, "is a server with its own UI: open it in a browser")
    require_store(uri)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((HOST, cfg.port))
        except OSError:
            other = cfg.port + 1
            how = f"make ui PORT={other}" if has_scripts() else f"tunebook ui port={other}"
            raise InputError(f"port={cfg.port}: is in use; choose another: {how}") from None


def views(uri: str) -> list[tuple[str, str]]:
    """Return (name, page) of each sweep, newest first, then of each experiment.

    page: the address, without the server's root.
    """
    found: list[tuple[bool, int, str, str]] = []
    for one in open_client(uri).search_experiments():
        for at, name, page in view.pages(one.experiment_id, one.tags):
            is_whole = name == view.NAME
            found.append((not is_whole, at, f"experiment {one.name}" if is_whole else name, page))
    return [(name, page) for _, _, name, page in sorted(found, reverse=True)]


def serve(uri: str, port: int, browser: bool) -> None:
    """Run MLflow's server until Ctrl-C or a signal, and print the addresses of its pages.

    The server ends with this process, however this process ends.
    """
    root = f"http://{HOST}:{port}"
    shown = views(uri)[:MAX_SHOWN]
    mlflow = [
        "mlflow",
        "ui",
        "--backend-store-uri",
        uri,
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command = [sys.executable, bound_server.__file__, *mlflow]
    _end_on_signals()
    # Ctrl-C may come before the server is waited for. It ends by itself then, without its input.
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryFile() as output:
        server = subprocess.Popen(
            command,
            env={**os.environ, **SETTINGS},
            stdin=subprocess.PIPE,
            stdout=output,  # for an error message
            stderr=output,
            start_new_session=True,
        )
        _show(server, root, shown, browser, output)


def _end_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise SystemExit, so that the server is ended too.

    A signal that is ignored (by nohup) stays ignored.
    """

    def leave(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, leave)


def _show(
    server: "subprocess.Popen[bytes]",
    root: str,
    shown: list[tuple[str, str]],
    browser: bool,
    output: IO[bytes],
) -> None:
    try:
        _wait_until_it_answers(root, server, output)
        for name, page in shown:
            print(f"{name}\n    {root}{page}")
        print(f"all\n    {root}/#/experiments\nCtrl-C stops the server", flush=True)
        if browser and has_screen():
            first = f"{root}{shown[0][1]}" if shown else root
            threading.Thread(target=webbrowser.open, args=(first,), daemon=True).start()
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        _end(server)


def has_screen() -> bool:
    """Return whether this machine has a display for a browser."""
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _wait_until_it_answers(root: str, server: "subprocess.Popen[bytes]", output: IO[bytes]) -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{root}/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    output.seek(0)
    last = output.read().decode(errors="replace").strip().splitlines()[-1:]
    raise ChildProcessError(
        f"MLflow's server ended with status {server.returncode}: {' '.join(last)[:300]}"
    )


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and the processes that it started, which could outlive it."""
    _signal_group(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(MAX_END_S)
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()


def _signal_group(group: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)
