"""A run is resumed where its folder is not, from MLflow's record or a checkpoint alone.

Neither is trusted.
"""

import http.server
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Cli, in_folder, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, Outcome, folder_of_run, outcome, with_store
from tunebook.training import checkpoint


def interrupt(folder: Path, signum: int = signal.SIGTERM, step: int = 18) -> None:
    code = faults.run_train(
        (*RUN, *with_store(folder)), folder / "log.txt", faults.signal_in_training, signum, step
    )
    assert code == (143 if signum == signal.SIGTERM else -signum), (folder / "log.txt").read_text()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_from_its_id_alone_it_goes_on_as_the_same_mlflow_run(
    cli: Cli, undisturbed: Callable[..., Outcome], tmp_path: Path, signum: int
) -> None:
    interrupt(tmp_path, signum)
    cli("sync.py", *with_store(tmp_path))
    (run,) = runs_in(tmp_path)
    assert run.info.status == "KILLED"
    shutil.rmtree(tmp_path / "out")
    result = cli(
        "train.py",
        f"resume={run.info.run_id}",
        *with_store(tmp_path),
        "outputs=" + str(tmp_path / "new"),
    )
    assert result.code == 0, result.err
    assert [found.info.run_id for found in runs_in(tmp_path)] == [run.info.run_id]
    assert outcome(tmp_path).differences(undisturbed()) == []


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the last checkpoint of a run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    interrupt(folder)
    return folder_of_run(folder) / "checkpoints" / "last.ckpt"


@pytest.fixture
def address(last: Path) -> Iterator[str]:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(last.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/last.ckpt"
        server.shutdown()


@pytest.mark.slow
def test_from_a_checkpoint_alone(
    cli: Cli, undisturbed: Callable[..., Outcome], last: Path, address: str, tmp_path: Path
) -> None:
    """A run is resumed from a checkpoint alone, with another store and other outputs.

    It is killed once more on the way.
    """
    (tmp_path / "it's here, ü").mkdir()
    file = shutil.copy(last, tmp_path / "it's here, ü" / "x.ckpt")
    for name in (str(file).replace("'", "\\'"), address):
        folder = tmp_path / Path(name).name
        folder.mkdir()
        log = folder / "log.txt"
        arguments = (f"resume='{name}'", *with_store(folder))
        assert (
            faults.run_train(arguments, log, faults.signal_in_training, signal.SIGKILL, 3)
            == -signal.SIGKILL
        ), log.read_text()
        result = cli("train.py", "resume=last", *with_store(folder))
        assert result.code == 0, result.err
        assert outcome(folder).differences(undisturbed()) == []
        (run,) = runs_in(folder)
        assert run.data.tags["resumed.from"] == name.replace("\\", "")


def test_changes_are_refused_there_too(cli: Cli, last: Path, tmp_path: Path) -> None:
    result = cli("train.py", f"resume={last}", "optimizer.lr=0.5", *in_folder(tmp_path))
    assert result.code == 2
    assert "optimizer.lr: 1.0 -> 0.5" in result.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--config-dir=/tmp", "is no setting"),
        ("-m", "is no setting"),
        (["model.filters=3"], "its tunebook.overrides has unexpected content"),
        ("experiment_name=${oc.env:HOME}", "evaluated on this machine"),
        ("experiment_name='${oc.env:HOME}'", "evaluated on this machine"),
        ("experiment_name=$\\{oc.env:HOME\\}", "evaluated on this machine"),
        ("model.filters=${oc.env:A_PASSWORD}", "evaluated on this machine"),
        ("model.filters='${oc.decode:${oc.env:A_PASSWORD}}'", "evaluated on this machine"),
        ("model={_target_:'${oc.env:A_PASSWORD}'}", "evaluated on this machine"),
        ("optimizer.lr=${oc.select:tracking.uri}", "evaluated on this machine"),
        ("experiment_name=${root:}", "evaluated on this machine"),
        ("experiment_name=${tracking.uri}", "evaluated on this machine"),
        ("experiment_name=${data.root}", "evaluated on this machine"),
        ("experiment_name=${hydra:job.name}", "evaluated on this machine"),
        ("experiment_name=${..tracking.uri}", "evaluated on this machine"),
        ("callbacks={x:['${now:%Y}']}", "evaluated on this machine"),
        ("experiment_name=", "experiment_name"),
        ("model.filters", "is not a setting"),
        ("sed=3", "no such setting"),
        ("experiment=../../evil", "no such option"),
        ("experiment@hydra=keras_notebook", "can't be changed"),
        (None, "its tunebook.overrides has unexpected content"),
        (7, "its tunebook.overrides has unexpected content"),
        ("model._target_=os.system", "model._target_"),
        ("optimizer=../../evil", "no such option"),
        ("+callbacks.x._target_=subprocess.run", "+callbacks.x._target_"),
    ],
    ids=str,
)
def test_a_hostile_checkpoint_changes_nothing(
    cli: Cli,
    last: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    override: object,
    said: str,
) -> None:
    monkeypatch.setenv("A_PASSWORD", "hunter2-hunter2")
    content = checkpoint.read(last)
    content["tunebook"]["overrides"].append(override)
    (tmp_path / "x.ckpt").write_bytes(checkpoint.encode(content))
    result = cli("train.py", f"resume={tmp_path}/x.ckpt", *in_folder(tmp_path))
    assert result.code == 2, result.out
    assert result.err.count("\n") == 1
    assert said in result.err
    assert "hunter2" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--config-dir=/tmp", "is not a setting"),
        ("experiment_name=${oc.env:HOME}", "evaluated on this machine"),
        ("model.filters=$\\{oc.env:A_PASSWORD\\}", "evaluated on this machine"),
        ("hydra.run.dir=/tmp/x", "names locations (hydra.run.dir=/tmp/x)"),
        ("hydra.job.env_set.A=b", "names locations (hydra.job.env_set.A=b)"),
        ("++hydra.searchpath=[file:///tmp]", "names locations (++hydra.searchpath=[file:///tmp])"),
        ("hydra/job_logging=disabled", "names locations (hydra/job_logging=disabled)"),
        ("resume_changes=true", "which can't be reused"),
        ("model._target_=os.system", "model._target_"),
        ("experiment=../../evil", "no such option"),
        ({"a": 1}, "its run.json is not readable"),
    ],
    ids=str,
)
def test_a_hostile_run_folder_changes_nothing(
    cli: Cli,
    last: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    override: object,
    said: str,
) -> None:
    monkeypatch.setenv("A_PASSWORD", "hunter2-hunter2")
    folder = tmp_path / "run"
    shutil.copytree(last.parents[1], folder)
    record = json.loads((folder / "run.json").read_text())
    record["overrides"].append(override)
    (folder / "run.json").write_text(json.dumps(record))
    result = cli(
        "train.py",
        f"resume={folder}",
        f"outputs={tmp_path}/out",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
    )
    assert result.code == 2, result.out
    assert result.err.count("\n") == 1
    assert said in result.err
    assert "hunter2" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_expression_of_ones_own_is_given_again(
    cli: Cli, last: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An override with an interpolation of the user's environment has to be given again.

    An interpolation of another setting of the run is kept.
    """
    monkeypatch.setenv("PLACE", str(tmp_path))
    folder = tmp_path / "run"
    shutil.copytree(last.parents[1], folder)
    record = json.loads((folder / "run.json").read_text())
    own = "outputs=${oc.env:PLACE}/out"
    record["overrides"] = [
        word for word in record["overrides"] if not word.startswith(("outputs", "tracking"))
    ]
    record["overrides"] += [own, "tracking=off", "data.eval_batch_size=${data.batch_size}"]
    (folder / "run.json").write_text(json.dumps(record))
    refused = cli("train.py", f"resume={folder}")
    assert refused.code == 2
    assert (
        "names locations (outputs=${oc.env:PLACE}/out): give your own value for each of them"
        in refused.err
    )
    result = cli("train.py", f"resume={folder}", own)
    assert result.code == 0, result.err


def test_places_of_another_machine_are_not_used(cli: Cli, last: Path, tmp_path: Path) -> None:
    content = checkpoint.read(last)
    elsewhere = tmp_path / "elsewhere"
    content["tunebook"]["overrides"] += [
        f"data.root={elsewhere}",
        f"hydra.run.dir={elsewhere}",
        f"tracking.uri=sqlite:///{elsewhere}",
    ]
    (tmp_path / "x.ckpt").write_bytes(checkpoint.encode(content))
    result = cli("train.py", f"resume={tmp_path}/x.ckpt", *with_store(tmp_path))
    assert result.code == 0, result.err
    assert not elsewhere.exists()


def test_weights_alone_are_not_gone_on_with(cli: Cli, last: Path, tmp_path: Path) -> None:
    result = cli("train.py", f"resume={last.with_name('best.ckpt')}", *in_folder(tmp_path))
    assert result.code == 2
    assert "contains weights, but not the state of a run" in result.err
