"""`sweep=auto` does a whole study: it searches, repeats the best, reports, and tests the winner."""

import json
import re
from pathlib import Path

import optuna
import psutil
import pytest
from mlflow.entities import Run

from tests.conftest import Cli, run_process, runs_in
from tests.helpers import faults
from tests.helpers.runs import with_store
from tests.integration.test_sweep import SHORT

BUDGET = 14
AUTO = ("-m", "sweep=auto", f"budget={BUDGET}", *SHORT, "sweep.name=found", "optimizer=adam",
        "sweep.space=null", "optimizer.lr=tag(log, interval(1e-3, 1e-1))",
        "model.dense_dropout=0,0.3",
        "trainer.precision=32-true", "sweep.workers=2")  # fmt: skip
pytestmark = pytest.mark.slow
in_one_process = pytest.mark.xdist_group("auto")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study that was killed in its search, and continued."""
    folder = tmp_path_factory.mktemp("auto")
    log = folder / "log.txt"
    log.touch()
    process = faults.start_train((*AUTO, *with_store(folder)), log)
    faults.wait_for(lambda: log.read_text().count("complete") >= 3, 120)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.join(60)
    again = run_process("train.py", *AUTO, *with_store(folder))
    assert again.code == 0, again.err
    (folder / "again.txt").write_text(again.out)
    return folder


def trials_of(folder: Path, option: str) -> list[Run]:
    return [
        run
        for run in runs_in(folder)
        if run.data.params.get("sweep") == option and "mlflow.parentRunId" in run.data.tags
    ]


def settings_of(run: Run) -> tuple[str, str]:
    return run.data.params["optimizer.lr"], run.data.params["model.dense_dropout"]


@in_one_process
def test_the_budget_is_used_for_a_search_and_for_finalists(study: Path) -> None:
    trials = trials_of(study, "auto")
    assert len(trials) == BUDGET
    assert {run.data.tags["sweep.state"] for run in trials} == {"complete"}
    runs = [(*settings_of(run), run.data.params["seed"]) for run in trials]
    assert len(set(runs)) == BUDGET
    counts = sorted(
        [settings_of(run) for run in trials].count(one) for one in set(map(settings_of, trials))
    )
    assert counts[-1] >= 3
    assert not any(name.startswith("test/") for run in trials for name in run.data.metrics)


@in_one_process
def test_the_winner_is_a_finalist_and_is_tested(study: Path) -> None:
    searched, final = trials_of(study, "auto"), trials_of(study, "final")
    assert len(final) == 5
    assert all("test/acc" in run.data.metrics for run in final)
    (winner,) = set(map(settings_of, final))
    assert [settings_of(run) for run in searched].count(winner) >= 3
    out = (study / "again.txt").read_text()
    assert re.search(r"^search +\d+ configurations, then \d+ runs with further seeds", out, re.M)
    assert re.search(r"^more +20 more trials of the search are expected to gain", out, re.M)
    assert re.search(r"^- Best: ", out, re.M)
    assert re.search(r"^test accuracy +\d", out, re.M)


@in_one_process
def test_findings_say_what_to_run_next_with_its_gain(study: Path) -> None:
    (file,) = study.glob("out/reports/found/findings.json")
    found = json.loads(file.read_text())
    search = [one for one in found["next"] if "sweep=auto" in one["command"]]
    assert len(search) == 1
    assert search[0]["cost_runs"] == 35
    assert search[0]["expected_gain"] > 0
    assert f"budget={BUDGET + 35}" in search[0]["command"]
    assert all(
        {"command", "why", "expected_gain", "cost_runs"} <= set(one) for one in found["next"]
    )


@in_one_process
def test_the_same_command_goes_on_and_another_sweep_continues_it(study: Path, cli: Cli) -> None:
    before = len(runs_in(study))
    words = [f"budget={BUDGET + 2}" if word.startswith("budget=") else word for word in AUTO]
    more = cli("train.py", *words, "sweep.test=false", *with_store(study))
    assert more.code == 0, more.err
    assert len(runs_in(study)) == before + 2
    refused = cli("train.py", "-m", "sweep=auto", "of=found", "budget=3", *with_store(study))
    assert refused.code == 2
    assert "is not a grid or a search that could go on" in refused.err


def test_a_grid_is_continued(tmp_path: Path, cli: Cli) -> None:
    """The space, the settings and the trials are those of the grid."""
    grid = ("-m", *SHORT, "sweep.name=grid", "optimizer=adam", "optimizer.lr=1e-3,1e-2",
            "model.dense_dropout=0,0.3", "trainer.precision=32-true")  # fmt: skip
    first = cli("train.py", *grid, *with_store(tmp_path))
    assert first.code == 0, first.err
    words = ("-m", "sweep=auto", "of=grid", "budget=3", "sweep.test=false")
    found = cli("train.py", *words, *with_store(tmp_path))
    assert found.code == 0, found.err
    new = trials_of(tmp_path, "auto")
    assert len(new) == 3
    tried = set(map(settings_of, runs_of_grid := trials_of(tmp_path, "grid")))
    assert len(runs_of_grid) == 4
    assert set(map(settings_of, new)) <= tried  # nothing is left to search: seeds are added
    seeds = {run.data.params["seed"] for run in runs_of_grid}
    assert not seeds & {run.data.params["seed"] for run in new}


def test_a_strangers_study_evaluates_nothing(tmp_path: Path, cli: Cli) -> None:
    """The space of a study that somebody else wrote may contain no interpolation."""
    folder = tmp_path / "out" / "sweeps" / "theirs"
    folder.mkdir(parents=True)
    study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="theirs")
    for text in ("choice('${oc.env:HOME}',b)", "choice(a,\\$\\{oc.env:HOME\\})"):
        identity = {"sweep": {}, "settings": [], "space": {"model": text}, "objective": "val/acc"}
        study.set_user_attr("identity", identity)
        found = cli("train.py", "-m", "sweep=auto", "of=theirs", *with_store(tmp_path))
        assert found.code == 2
        assert found.err.count("\n") == 1
        assert "would be evaluated" in found.err
