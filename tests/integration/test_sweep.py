"""Each trial of a sweep runs once, and MLflow and the terminal report all of them."""

import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run

from tests.conftest import Cli, artifacts_of, run_process, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, TIMES, with_store
from tunebook.sweeps.executors import local

SHORT = (*(word for word in RUN if "max_epochs" not in word), "trainer.max_epochs=2")
GRID = ("-m", *SHORT, "optimizer=adam,sgd", "seed=1,2")


# One worker runs these tests, so that the grid is trained once.
in_one_process = pytest.mark.xdist_group("sweep")


def children(folder: Path) -> dict[str, Run]:
    """Return the trials of the only sweep in a folder, by their values."""
    runs = runs_in(folder)
    (parent,) = [run for run in runs if run.data.tags.get("sweep.kind") == "sweep"]
    found = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(found) == len(runs) - 1
    return {run.info.run_name.partition(" ")[2]: run for run in found}


def parent_of(folder: Path) -> Run:
    (parent,) = [run for run in runs_in(folder) if run.data.tags.get("sweep.kind") == "sweep"]
    return parent


def figures(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.data.metrics.items() if not name.startswith(TIMES)}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep that went well."""
    folder = tmp_path_factory.mktemp("grid")
    result = run_process("train.py", *GRID, *with_store(folder))
    assert result.code == 0, result.err
    (folder / "out.txt").write_text(result.out)
    return folder


@in_one_process
def test_a_grid_has_every_combination_under_one_parent(grid: Path) -> None:
    found = children(grid)
    assert set(found) == {"adam seed=1", "adam seed=2", "sgd seed=1", "sgd seed=2"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert {run.data.tags["sweep.state"] for run in found.values()} == {"complete"}
    assert sorted(run.data.tags["sweep.trial"] for run in found.values()) == ["0", "1", "2", "3"]
    parent = parent_of(grid)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {}
    assert {"sweep/trials.csv", "sweep/study.db", "sweep/request.json"} <= artifacts_of(
        grid, parent
    )
    out = (grid / "out.txt").read_text()
    # test_sweep_seeds.py tests the figures: runs as short as these may be at chance.
    for optimizer in ("adam", "sgd"):
        assert re.search(rf"^ *2 +\d+\.\d\d .*% +\d+\.\d\d .*% +{optimizer}\b", out, re.M)
    assert re.search(r"^best +val/acc \d+\.\d\d %, the median .*optimizer=(adam|sgd)$", out, re.M)
    uri = f"tracking.uri=sqlite:///{grid}/mlflow.db"
    assert re.search(
        rf"^findings +python src/compare.py 'sweep=grid optimizer seed \w{{8}}' {uri} "
        rf"outputs={grid}/out$",
        out,
        re.M,
    )
    assert {run.data.params["sweep"] for run in (parent, *found.values())} == {"grid"}


@in_one_process
def test_a_trial_is_the_run_that_its_settings_make(grid: Path, cli: Cli, tmp_path: Path) -> None:
    result = cli(
        "train.py",
        *SHORT,
        "optimizer=sgd",
        "seed=2",
        "trainer.precision=32-true",
        *with_store(tmp_path),
    )
    assert result.code == 0, result.err
    (alone,) = runs_in(tmp_path)
    assert figures(alone) == figures(children(grid)["sgd seed=2"])
    assert "sweep" not in alone.data.params
    said = (
        r"^time +\d+\.\d s per epoch \(median\), \d+ s of training and validation, "
        r"\d+ s since the process started$"
    )
    assert re.search(said, result.out, re.M)


@in_one_process
def test_the_same_command_finds_its_sweep_and_runs_nothing_again(grid: Path, cli: Cli) -> None:
    before = {run.info.run_id for run in runs_in(grid)}
    result = cli("train.py", "-m", *reversed(GRID[1:]), *with_store(grid), "sweep.workers=1")
    assert result.code == 0, result.err
    assert "4 trials already done" in result.out
    assert {run.info.run_id for run in runs_in(grid)} == before
    assert parent_of(grid).info.status == "FINISHED"


def assert_states(found: dict[str, Run], fifth: str) -> None:
    """Assert how the trials ended, of which the fifth may hang."""
    states = {name: run.data.tags["sweep.state"] for name, run in found.items()}
    assert states["adam lr=0.001 seed=1"] == "failed"
    assert states["adam lr=0.001 seed=2"] == "killed"
    assert states["sgd lr=0.001 seed=1"] == fifth
    assert states["sgd lr=0.001 seed=2"] == "complete"
    assert {state for name, state in states.items() if "1e+30" in name} == {"diverged"}
    assert {run.info.status for run in found.values()} == {"FINISHED", "FAILED", "KILLED"}


@pytest.mark.slow
@pytest.mark.parametrize("faults_at", [(0, 1), (0, 1, 4)])
@in_one_process
def test_trials_that_fail_cost_only_themselves(
    cli: Cli,
    grid: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults_at: tuple[int, ...],
) -> None:
    """Trials that raise, hang, diverge or are killed do not affect the others.

    The failed ones run again when that is asked for.
    """
    monkeypatch.setattr(local, "work", partial(faults.faulty_work, faults_at))
    arguments = (
        "-m",
        *SHORT,
        "optimizer=adam,sgd",
        "optimizer.lr=1e-3,1e30",
        "seed=1,2",
        "sweep.trial_timeout=15",
        *with_store(tmp_path),
    )
    result = cli("train.py", *arguments)
    assert result.code == 1
    found = children(tmp_path)
    assert_states(found, "timed out" if 4 in faults_at else "complete")
    assert re.search(r"^trial 0 failed: RuntimeError: a fault", result.out, re.M)
    assert re.search(r"^trial 1 killed: its process ended with SIGKILL", result.out, re.M)
    assert "log/traceback.txt" in artifacts_of(tmp_path, found["adam lr=0.001 seed=1"])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli("train.py", *arguments).code == 1
    assert len(children(tmp_path)) == 8
    again = cli("train.py", *arguments, "sweep.retry_failed=true")
    assert again.code == 1
    last = [run for run in runs_in(tmp_path) if int(run.data.tags.get("sweep.trial", 0)) >= 8]
    assert len(last) == 4 + len(faults_at)
    assert all(
        run.data.tags["sweep.state"] == ("diverged" if "1e+30" in run.info.run_name else "complete")
        for run in last
    )


@pytest.mark.slow
def test_workers_that_cannot_work_cost_no_trial(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "work", faults.no_work)
    arguments = ("-m", *SHORT, "seed=1,2", *with_store(tmp_path))
    result = cli("train.py", *arguments)
    assert result.code == 1
    assert re.fullmatch(
        r"error: no worker could start a trial: its process ended with status 3 \(log: .*\n",
        result.err,
    )
    monkeypatch.undo()
    assert cli("train.py", *arguments).code == 0
    assert sorted(run.data.tags["sweep.trial"] for run in children(tmp_path).values()) == ["0", "1"]


@pytest.mark.slow
def test_a_sweep_that_is_broken_as_a_whole_ends(cli: Cli, tmp_path: Path) -> None:
    arguments = (
        "-m",
        *SHORT,
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "seed=range(6)",
        "sweep.workers=1",
        "sweep.max_failures=1",
    )
    result = cli("train.py", *arguments, *with_store(tmp_path))
    assert result.code == 1
    assert "no more trials are started: 2 have failed" in result.out
    assert len(children(tmp_path)) == 2


@pytest.mark.slow
def test_a_search_goes_on_to_its_total_and_leaves_the_test_alone(cli: Cli, tmp_path: Path) -> None:
    search = ("-m", *SHORT, "sweep=random", "sweep.space=null", "sweep.name='lr, by chance'",
              "optimizer=adam,sgd",
              "optimizer.lr=tag(log, interval(1e-3, 1e-1))", *with_store(tmp_path))  # fmt: skip
    assert cli("train.py", *search, "sweep.trials=3").code == 0
    first = children(tmp_path)
    result = cli("train.py", *search, "sweep.trials=5")
    assert result.code == 0, result.err
    found = children(tmp_path)
    assert len(found) == 5
    assert {run.info.run_id for run in first.values()} < {run.info.run_id for run in found.values()}
    assert not any(name.startswith("test/") for run in found.values() for name in run.data.metrics)
    changed = cli("train.py", *search, "sweep.trials=5", "model.dense_units=32")
    assert changed.code == 2
    assert changed.err.startswith(
        "error: sweep.name=lr, by chance: is another sweep (model.dense_units=32: new)"
    )


@pytest.mark.slow
def test_a_trial_that_is_given_up_says_so(cli: Cli, tmp_path: Path) -> None:
    pruner = "sweep.pruner={_target_:optuna.pruners.ThresholdPruner,lower:0.999}"
    result = cli("train.py", *GRID[:-1], "seed=1", pruner, *with_store(tmp_path))
    assert result.code == 0, result.err
    for run in children(tmp_path).values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["sweep.state"] == "pruned"
        assert run.data.tags["sweep.pruned_at_epoch"] == "1"
        assert "test/acc" not in run.data.metrics


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(5))
@in_one_process
def test_a_killed_sweep_goes_on(grid: Path, tmp_path: Path, moment: int) -> None:
    """A sweep whose leading process is killed is resumed by the same command.

    Its workers stop. Each trial is there once, as in the undisturbed sweep.
    """
    log = tmp_path / "log.txt"
    process = faults.start_train((*GRID, *with_store(tmp_path)), log)
    assert process.pid
    faults.wait_for(lambda: log.exists() and log.read_text().count(" started\n") > moment // 2, 120)
    time.sleep(0.3 * moment)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert faults.run_train((*GRID, *with_store(tmp_path)), log) == 0, log.read_text()
    assert {name: figures(run) for name, run in children(tmp_path).items()} == {
        name: figures(run) for name, run in children(grid).items()
    }
    assert {run.info.status for run in runs_in(tmp_path)} == {"FINISHED"}


@pytest.mark.slow
@in_one_process
def test_a_stopped_sweep_leaves_nothing_running(cli: Cli, grid: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    command = (*GRID, "sweep.workers=1", *with_store(tmp_path))
    process = faults.start_train(command, log)
    assert process.pid
    faults.wait_for(lambda: log.exists() and " started\n" in log.read_text(), 120)
    os.kill(process.pid, signal.SIGSTOP)  # so that the sweep can't end before the next command
    refused = cli("train.py", *GRID, *with_store(tmp_path))
    started = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    assert refused.code == 2
    assert (
        "is already running; to add workers to it: the same command with sweep.join=true"
        in refused.err
    )
    process.join(60)
    assert process.exitcode == 143, log.read_text()
    assert started
    psutil.wait_procs(started, 30)
    assert not any(child.is_running() for child in started)
    assert {run.info.status for run in runs_in(tmp_path)} <= {"KILLED", "FINISHED"}
    assert log.read_text().count(" complete ") < 4
    assert faults.run_train(command, log) == 0, log.read_text()
    assert {name: figures(run) for name, run in children(tmp_path).items()} == {
        name: figures(run) for name, run in children(grid).items()
    }


@in_one_process
def test_a_dry_run_shows_the_trials_and_makes_nothing(cli: Cli, grid: Path, tmp_path: Path) -> None:
    words = (
        "-m",
        "data=digits",
        "optimizer=adam,sgd",
        "seed=range(3)",
        "sweep.dry_run=true",
        f"outputs={tmp_path}",
    )
    result = cli("train.py", *words, f"tracking.uri=sqlite:///{grid}/mlflow.db")
    assert result.code == 0, result.err
    assert len(re.findall(r"^00\d  optimizer=(adam|sgd) seed=\d$", result.out, re.M)) == 6
    assert re.search(
        r"6 trials of 12 epochs, \d workers?: about .*, estimated from 4 earlier runs", result.out
    )
    assert not any(tmp_path.iterdir())


@in_one_process
@pytest.mark.slow
def test_workers_can_be_added_to_a_sweep_that_is_running(
    cli: Cli, grid: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    process = faults.start_train((*GRID, "sweep.workers=1", *with_store(tmp_path)), log)
    faults.wait_for(lambda: log.exists() and " started\n" in log.read_text(), 120)
    joined = cli("train.py", *GRID, "sweep.workers=1", "sweep.join=true", *with_store(tmp_path))
    assert joined.code == 0, joined.err
    assert joined.out.count(" started\n") >= 1
    process.join(120)
    assert process.exitcode == 0, log.read_text()
    assert log.read_text().count(" started\n") + joined.out.count(" started\n") == 4
    assert {name: figures(run) for name, run in children(tmp_path).items()} == {
        name: figures(run) for name, run in children(grid).items()
    }
