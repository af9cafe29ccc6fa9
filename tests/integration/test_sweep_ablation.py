"""An ablation trains the path from the defaults to the winner of a sweep."""

import json
import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Cli, artifacts_of, run_process, runs_in
from tests.helpers import faults
from tests.helpers.runs import with_store
from tests.integration.test_sweep import SHORT

SEARCH = ("-m", *SHORT, "sweep.name=found", "optimizer=adam,adadelta", "model.dense_dropout=0,0.9",
          "optimizer.lr=0.002", "seed=1", "trainer.precision=32-true")  # fmt: skip
ABLATION = ("-m", "sweep=ablation", "sweep.of=found", "sweep.name=why", "sweep.seeds=3")
KEYS = {"optimizer", "model.dense_dropout"}
pytestmark = pytest.mark.slow
in_one_process = pytest.mark.xdist_group("ablation")


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a grid and the ablation of its winner, which was killed on the way."""
    folder = tmp_path_factory.mktemp("ablation")
    search = run_process("train.py", *SEARCH, *with_store(folder))
    assert search.code == 0, search.err
    log = folder / "log.txt"
    log.touch()
    process = faults.start_train((*ABLATION, *with_store(folder)), log)
    faults.wait_for(lambda: log.read_text().count("complete") >= 4, 120)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.join(60)
    again = run_process("train.py", *ABLATION, *with_store(folder))
    assert again.code == 0, again.err
    (folder / "again.txt").write_text(again.out)
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("out/reports/why*/ablation/ablation.json")
    return json.loads(file.read_text())


@in_one_process
def test_the_path_leads_from_the_defaults_to_the_winner(explained: Path) -> None:
    found = report_of(explained)
    steps = found["path"]
    assert found["ended"] == "the path has reached the winner"
    assert steps[0]["changes"] == []
    assert {key for step in steps for key in step["changes"]} == KEYS
    assert set(steps[0]["overrides"]) == {"optimizer=adadelta", "model.dense_dropout=0.5"}
    assert "model.dense_dropout=0" in steps[-1]["overrides"]
    assert all(len(step["values"]) == 3 for step in steps)
    assert found["all_steps"]["verdict"] in ("helps", "nothing shown")


@in_one_process
def test_each_value_of_the_path_is_that_of_a_run_and_no_run_is_done_twice(explained: Path) -> None:
    trained = {}
    for run in runs_in(explained):
        if run.data.params.get("sweep") == "ablation" and "mlflow.parentRunId" in run.data.tags:
            assert run.data.tags["sweep.state"] == "complete"
            settings = (run.data.params["optimizer"], run.data.params["model.dense_dropout"])
            key = (*settings, run.data.params["seed"])
            assert key not in trained
            trained[key] = run.data.metrics["best/val_acc"]
    assert len(trained) == 12  # the defaults, each change, both changes; three seeds
    for step in report_of(explained)["path"]:
        words = dict(word.split("=") for word in step["overrides"])
        for seed, value in step["values"].items():
            key = (words["optimizer"], words["model.dense_dropout"], seed)
            assert value == pytest.approx(trained[key])


@in_one_process
def test_the_path_is_printed_and_stored_with_the_sweep(explained: Path, cli: Cli) -> None:
    out = (explained / "again.txt").read_text()
    assert re.search(r"^path +defaults \d+\.\d\d % ", out, re.M)
    assert re.search(r"^optimizer: adadelta -> adam +\d", out, re.M)
    assert re.search(r"^all of them +\d", out, re.M)
    (parent,) = [run for run in runs_in(explained) if run.info.run_name == "why"]
    stored = artifacts_of(explained, parent, "report/ablation")
    assert stored == {"report/ablation/ablation.json", "report/ablation/ablation.png"}
    compared = cli("compare.py", "sweep=why", "report=false", *with_store(explained))
    assert compared.code == 0, compared.err


@in_one_process
def test_what_can_not_be_explained_is_told_in_one_line(explained: Path, cli: Cli) -> None:
    for words, said in [
        (["sweep.of=fond"], "Did you mean 'found'?"),
        (["sweep.of=found", "optimizer=adam,sgd"], "optimizer"),
        (["sweep.of=found", "data=mnist"], "data=mnist: is not that of the sweep found"),
        (["sweep.of=found", "sweep.seeds=0"], "sweep.seeds=0"),
    ]:
        wrong = cli("train.py", "-m", "sweep=ablation", *words, *with_store(explained))
        assert wrong.code == 2, wrong.out
        assert said in wrong.err
        assert wrong.err.count("\n") == 1
        assert "Traceback" not in wrong.err
