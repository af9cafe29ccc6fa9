"""A finished run is reproduced from its stored config, and every metric is compared.

The stored config is not trusted.
"""

import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run
from omegaconf import OmegaConf

from tests.conftest import Cli, in_folder, run_in_process, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, with_store
from tunebook.training import checkpoint

SETTINGS = (
    "augmentation=affine", "optimizer=adam", "scheduler=onecycle", "model.conv_dropout=0.3",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=4", "checkpoint_every_s=300",
)  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one finished run."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert (
            run_in_process(
                "train.py", (*RUN, *SETTINGS, *with_store(folder)), monkeypatch, None
            ).code
            == 0
        )
    return folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, which a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
        alter(folder, f"UPDATE {table} SET {column} = replace({column}, '{original}', '{folder}')")
    shutil.rmtree(folder / "out")
    return folder


def alter(folder: Path, statement: str) -> None:
    """Change the store by an SQL statement."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        assert connection.execute(statement).rowcount, statement
    connection.close()


def reproduce(cli: Cli, folder: Path, run: Run, *arguments: str) -> Any:
    return cli("reproduce.py", f"run={run.info.run_id}", *in_folder(folder), *arguments)


def slow(*values: Any) -> Any:
    """Mark a case as slow that another case stands for in the fast tests."""
    return pytest.param(*values, marks=pytest.mark.slow)


def refused(cli: Cli, folder: Path, *said: str) -> None:
    """Assert that the reproduction is refused in one line and nothing is written."""
    (run,) = runs_in(folder)
    result = reproduce(cli, folder, run)
    assert result.code == 2, result.out + result.err
    assert result.err.count("\n") == 1, result.err
    for text in said:
        assert text in result.err
    assert len(runs_in(folder)) == 1
    assert not (folder / "out").exists()


def test_a_run_reproduces_itself_to_the_bit(cli: Cli, copy: Path) -> None:
    (run,) = runs_in(copy)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)  # another number than the run had
    try:
        result = reproduce(cli, copy, run)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert result.code == 0, result.err
    assert [
        checkpoint.read(file)["tunebook"]["environment"]["threads"]
        for file in copy.glob("mlruns/**/last.ckpt")
    ] == [threads] * 2
    # The learning rate, four metrics of each epoch, three of the best epoch, two of the test.
    assert "the same: all 10 metrics, 15 points" in result.out
    _, again = runs_in(copy)
    assert again.info.experiment_id == run.info.experiment_id
    assert again.info.run_name == f"reproduces {run.info.run_name}"
    assert again.data.tags["reproduces"] == run.info.run_id
    assert again.data.tags["reproduction"] == "same"
    assert again.data.tags["command"].startswith(f"python src/reproduce.py run={run.info.run_id}")
    assert again.data.tags["folder"].startswith(str(copy))
    assert again.data.params == run.data.params | {"trainer.precision": run.data.tags["precision"]}
    assert again.data.metrics["test/acc"] == run.data.metrics["test/acc"]
    compared = cli("compare.py", in_folder(copy)[0], "metric=test/acc", "report=false")
    # A reproduction is no further run of that seed.
    assert "\n1  1  " in compared.out, compared.out + compared.err


def test_what_is_not_the_same_is_found(cli: Cli, copy: Path) -> None:
    (run,) = runs_in(copy)
    found = run.data.metrics["val/loss"]
    alter(copy, "UPDATE metrics SET value = 0.5 WHERE key = 'val/loss' AND step = 2")
    alter(copy, "UPDATE tags SET value = '1.0' WHERE key = 'version.torch'")
    alter(copy, "UPDATE datasets SET digest = 'other' WHERE name LIKE '% val'")
    result = reproduce(cli, copy, run)
    assert result.code == 1, result.out
    assert result.err == ""
    assert (
        f"first difference: val/loss at epoch 2: 0.5 -> {found}\n1 of 15 points differ"
        in result.out
    )
    assert f"  torch: 1.0 -> {torch.__version__}\n" in result.out
    assert "  data for validation: other -> " in result.out
    _, again = runs_in(copy)
    assert again.info.status == "FINISHED"
    assert again.data.tags["reproduction"] == "different"
    assert (
        again.data.tags["reproduction.first_difference"] == f"val/loss at epoch 2: 0.5 -> {found}"
    )


def set_config(config: Any, mark: Path, how: str) -> None:
    """Change a stored config into one that would do harm."""
    if how == "target":
        config.model = {"_target_": "os.system", "command": f"touch {mark}"}
    if how == "inner target":
        config.model.inner = {"_target_": "subprocess.run"}
    if how == "loader":
        config.optimizer._target_ = "torch.load"
    if how == "flag":
        config["--config-dir"] = "/tmp"
    if how == "environment":
        config.experiment_name = "${oc.env:HOME}"
    if how == "range":
        config.optimizer.lr = -1.0
    if how == "two words":
        config["seed=1,model.filters"] = 3
    if how == "secret":
        config.experiment_name = "token=***"


HOSTILE = [
    ("target", "model._target_=os.system"),
    slow("inner target", "model.inner"),
    slow("loader", "optimizer._target_=torch.load"),
    slow("flag", "--config-dir=/tmp, which is not a setting"),
    ("environment", "evaluated on this machine"),
    slow("range", "optimizer.lr=-1.0"),
    slow("two words", "which is not a setting"),
    slow("secret", "contains a secret"),
]


@pytest.mark.parametrize(("how", "said"), HOSTILE)
def test_a_hostile_config_is_refused(cli: Cli, copy: Path, how: str, said: str) -> None:
    (file,) = copy.glob("mlruns/**/config/config.yaml")
    config = OmegaConf.load(file)
    set_config(config, copy / "mark", how)
    file.write_text(OmegaConf.to_yaml(config))
    refused(cli, copy, said)
    assert not (copy / "mark").exists()


@pytest.mark.parametrize(
    "text",
    ["- a\n- list\n", *map(slow, ("{", "\0", "!!python/object/apply:os.system ['true']", "1"))],
    ids=repr,
)
def test_a_config_that_is_none_is_refused(cli: Cli, copy: Path, text: str) -> None:
    (file,) = copy.glob("mlruns/**/config/config.yaml")
    file.write_text(text)
    refused(cli, copy, "its config/config.yaml")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--config-dir=/tmp", "is no setting"),
        slow("experiment_name=${oc.env:HOME}", "evaluated on this machine"),
        slow("optimizer=../../evil", "no such option"),
    ],
)
def test_hostile_overrides_are_refused(cli: Cli, copy: Path, override: str, said: str) -> None:
    (file,) = copy.glob("mlruns/**/config/overrides.yaml")
    file.write_text(OmegaConf.to_yaml([*OmegaConf.load(file), override]))
    refused(cli, copy, said)


def test_a_hostile_checkpoint_is_refused(cli: Cli, copy: Path) -> None:
    (file,) = copy.glob("mlruns/**/last.ckpt")
    content = checkpoint.read(file)
    content["tunebook"]["environment"]["threads"] = 10**9
    file.write_bytes(checkpoint.encode(content))
    refused(cli, copy, "threads=1000000000")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE runs SET status = 'KILLED'", "is KILLED, not FINISHED"),
        ("UPDATE tags SET key = 'sweep.kind', value = 'sweep' WHERE key = 'cpu'", "is a sweep"),
        slow(
            "UPDATE tags SET key = 'resumed.changes', value = 'optimizer.lr: 1 -> 2' "
            "WHERE key = 'cpu'",
            "optimizer.lr: 1 -> 2",
        ),
        slow(
            "UPDATE tags SET key = 'sweep.pruned_at_epoch', value = 'x' WHERE key = 'cpu'",
            "is no epoch",
        ),
        slow("UPDATE tags SET value = '16-true' WHERE key = 'precision'", "precision=16-true"),
    ],
)
def test_what_is_no_whole_run_is_refused(cli: Cli, copy: Path, statement: str, said: str) -> None:
    alter(copy, statement)
    refused(cli, copy, said)


def test_an_unknown_run_is_refused_as_by_evaluate(cli: Cli, original: Path) -> None:
    run, store = "run=0123456789abcdef0123456789abcdef", in_folder(original)[0]
    result = cli("reproduce.py", run, store)
    assert result.code == 2
    assert result.err == cli("evaluate.py", run, store).err
    assert result.err.count("\n") == 1
    assert "is required" in cli("reproduce.py", store).err
    assert "allowed: mlflow" in cli("reproduce.py", run, "tracking=off").err


def test_help_tells_its_settings(cli: Cli) -> None:
    result = cli("reproduce.py", "--help")
    assert result.code == 0
    assert "# id of a FINISHED MLflow run" in result.out


@pytest.mark.slow
def test_a_config_that_conf_no_longer_gives_is_run_as_it_is_stored(cli: Cli, copy: Path) -> None:
    """A config that conf/ no longer composes is reproduced as it is stored.

    Its paths are not used, and the settings that it lacks are reported.
    """
    (file,) = copy.glob("mlruns/**/config/config.yaml")
    config = OmegaConf.load(file)
    config.seed, config.model.filters, config.data.root, config.outputs = (
        7,
        5,
        "/nowhere",
        "/nowhere",
    )
    config.tracking.uri = "sqlite:////nowhere/mlflow.db"
    del config["checkpoint_every_s"]
    file.write_text(OmegaConf.to_yaml(config))
    (run,) = runs_in(copy)
    result = reproduce(cli, copy, run, f"data_root={copy}/data")
    assert result.code == 1, result.err
    assert "checkpoint_every_s: no such setting -> 300" in result.out
    _, again = runs_in(copy)
    assert (again.data.params["seed"], again.data.params["model.filters"]) == ("7", "5")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [("data.validate_on=train",), ("experiment=keras_notebook", "data=digits")]
)
def test_runs_of_each_kind(cli: Cli, tmp_path: Path, settings: tuple[str, ...]) -> None:
    arguments = [word for word in RUN if not (word.startswith("data=") and len(settings) > 1)]
    assert (
        cli("train.py", *arguments, *settings, "tested_weights=last", *with_store(tmp_path)).code
        == 0
    )
    (run,) = runs_in(tmp_path)
    result = reproduce(cli, tmp_path, run)
    assert result.code == 0, result.out + result.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "epochs", "tested"),
    [
        (("sweep=random", "sweep.trials=1", "sweep.space=null", "seed=1,2"), 2, False),
        (("seed=5",), 2, True),
        (
            ("seed=5", "sweep.pruner={_target_:optuna.pruners.ThresholdPruner,lower:0.999}"),
            1,
            False,
        ),
    ],
    ids=["search", "grid", "pruned"],
)
def test_a_trial_is_reproduced(
    cli: Cli, tmp_path: Path, sweep: tuple[str, ...], epochs: int, tested: bool
) -> None:
    varying = () if "sweep=random" in sweep else ("model.filters=2,3",)
    words = [word for word in RUN if not varying or not word.startswith("model.filters=")]
    result = cli(
        "train.py",
        "-m",
        *words,
        "trainer.max_epochs=2",
        *sweep,
        *varying,
        "sweep.workers=1",
        "checkpoint_every_s=300",
        *with_store(tmp_path),
    )
    assert result.code == 0, result.err
    trial = next(run for run in runs_in(tmp_path) if "sweep.trial" in run.data.tags)
    result = reproduce(cli, tmp_path, trial)
    assert result.code == 0, result.out + result.err
    again = runs_in(tmp_path)[-1]
    assert ("test/acc" in again.data.metrics) == tested
    assert "mlflow.parentRunId" not in again.data.tags
    assert result.out.count("\nepoch ") == epochs
    assert reproduce(cli, tmp_path, again).code == 0  # a reproduction can be reproduced


@pytest.mark.slow
def test_a_run_that_was_resumed_is_as_an_undisturbed_one(cli: Cli, tmp_path: Path) -> None:
    arguments = (*RUN, *with_store(tmp_path))
    code = faults.run_train(
        arguments, tmp_path / "log.txt", faults.signal_in_training, signal.SIGKILL, 18
    )
    assert code == -signal.SIGKILL
    assert cli("train.py", "resume=last", *in_folder(tmp_path)).code == 0
    (run,) = runs_in(tmp_path)
    result = reproduce(cli, tmp_path, run)
    assert result.code == 0, result.out + result.err
