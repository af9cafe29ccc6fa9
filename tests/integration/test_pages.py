"""ui.py serves MLflow's pages and names the view of each sweep and experiment."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import zlib
from base64 import b64decode
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli
from tests.helpers.faults import wait_for
from tests.integration.test_report import filled
from tunebook.tracking import view


def test_a_sweeps_view_is_one_that_the_pages_can_read() -> None:
    tags = view.tags_of_sweep("grid lr 1234", "val/loss", True, ["optimizer.lr"])
    ((_, name, page),) = view.pages(
        "7", {**tags, "mlflow.sharedViewState.broken": "{", "other": "x"}
    )
    assert name == "sweep grid lr 1234"
    assert page == view.page_of_sweep("7", "grid lr 1234")
    assert re.fullmatch(
        r"/#/experiments/7/runs\?viewStateShareKey=sweep-\w{8}&workflowType=machine_learning", page
    )


@pytest.mark.parametrize(
    "tags", [view.tags(), view.tags_of_sweep("s", "val/acc", False, ["optimizer.lr"])]
)
def test_every_view_tells_pruned_from_complete(tags: dict[str, str]) -> None:
    (text,) = [json.loads(value) for key, value in tags.items() if key.startswith(view.PREFIX)]
    state = json.loads(zlib.decompress(b64decode(text["state"].removeprefix("deflate;"))))
    assert "tags.`sweep.state`" in state["selectedColumns"]
    assert "tags.`sweep.pruned_at_epoch`" in state["selectedColumns"]
    # The column is before all parameters, where it is seen.
    assert state["columnOrder"][0] == "tags.`sweep.state`"


@pytest.mark.slow
def test_the_pages_are_served_until_ctrl_c(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, 2, 1)
    for key, value in {
        **view.tags(),
        **view.tags_of_sweep("s", "val/acc", False, ["optimizer.lr"]),
    }.items():
        store.client.set_experiment_tag(store.experiment, key, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log.txt"
    command = [
        sys.executable,
        str(ROOT / "src" / "ui.py"),
        f"port={port}",
        "browser=false",
        store.words[0],
    ]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    wait_for(lambda: "Ctrl-C stops the server" in log.read_text(), 120)
    lines = log.read_text().splitlines()
    assert lines[0] == "sweep s"
    assert lines[1].startswith(
        f"    http://127.0.0.1:{port}/#/experiments/{store.experiment}/runs?viewStateShareKey=sweep-"
    )
    assert lines[2] == "experiment tunebook"
    assert b"MLflow" in urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
    taken = subprocess.run(command, capture_output=True, text=True)
    assert taken.returncode == 2
    assert (
        taken.stderr == f"error: port={port}: is in use; choose another: make ui PORT={port + 1}\n"
    )
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) in (0, 130)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["port=0"], "port=0"),
        (["port=http"], "integer"),
        (["tracking.uri=http://somewhere"], "is a server with its own UI"),
        ([], "there is no such store"),
    ],
)
def test_pages_that_cannot_be_served(cli: Cli, tmp_path: Path, words: list[str], said: str) -> None:
    result = cli("ui.py", f"tracking.uri=sqlite:///{tmp_path}/none.db", *words)
    assert result.code == 2
    assert said in result.err
    assert not any(tmp_path.iterdir())
