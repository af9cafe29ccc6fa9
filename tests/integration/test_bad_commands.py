"""Multiruns, other scripts and Hydra's own settings are refused in one line as well."""

from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL, Cli, in_folder
from tests.integration.test_bad_config import entries


@pytest.mark.parametrize("folder", ["/proc/there", "/dev/null/out"])
def test_an_output_folder_that_cannot_be_written(cli: Cli, folder: str) -> None:
    result = cli("train.py", f"hydra.run.dir={folder}")
    assert result.code == 2
    assert result.err.startswith(f"error: hydra.run.dir={folder}: cannot be written")


@pytest.mark.parametrize(
    ("point", "named"),
    [
        ("model.filters=16,0", "model.filters=0"),
        ("optimizer=adam,adadleta", "optimizer=adadleta"),
        ("optimizer.lr=0.1,nan", "optimizer.lr=nan"),
    ],
)
def test_a_multirun_with_a_wrong_point_starts_no_job(
    cli: Cli, tmp_path: Path, point: str, named: str
) -> None:
    result = cli("train.py", "-m", *in_folder(tmp_path), point)
    assert result.code == 2
    assert named in result.err
    assert result.err.count("\n") == 1
    assert not entries(tmp_path)


def test_the_repository_is_as_before(cli: Cli) -> None:
    before = {path.name for path in ROOT.iterdir()}
    assert cli("train.py", "model.filters=0").code == 2
    assert {path.name for path in ROOT.iterdir()} == before


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("evaluate.py", [], "error: run is required; allowed: last"),
        ("evaluate.py", ["run=abc"], "no such store"),
        ("evaluate.py", ["run=abc", "weights=worst"], "weights=worst"),
        ("evaluate.py", ["run=abc", "wieghts=best"], "'weights'"),
        ("evaluate.py", ["run=abc", "tracking=off"], "tracking=off"),
        ("compare.py", ["experiment_name=tunebok"], "no such store"),
        ("compare.py", ["metrik=test/acc"], "'metric'"),
    ],
)
def test_other_scripts_answer_in_one_line_too(
    cli: Cli, tmp_path: Path, script: str, arguments: list[str], said: str
) -> None:
    uri = [] if "tracking=off" in arguments else [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"]
    result = cli(script, *uri, *arguments)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not entries(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        "hydra.searchpath=[file:///tmp/evil]", "hydra.output_subdir=../../x",
        "hydra.job.env_set.LD_PRELOAD=/tmp/evil.so", "hydra.job.chdir=true",
        "hydra.job_logging.handlers.file.filename=/tmp/evil.log",
        "hydra.hydra_logging.handlers.console.stream=ext://os.system",
        "hydra.job_logging.handlers.file.class=logging.handlers.SocketHandler",
        "hydra.job_logging.formatters.simple.()=os.system",
        "hydra.launcher._target_=os.system", "hydra.sweeper._target_=subprocess.run",
        "+hydra.callbacks.evil._target_=os.system",
        "hydra.job.env_copy=[HOME]", "hydra.job_logging.root.handlers=[]",
    ],
)  # fmt: skip
def test_hydra_itself_is_not_a_way_around(cli: Cli, setting: str) -> None:
    before = set(ROOT.iterdir())
    result = cli("train.py", *SMALL, setting)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert set(ROOT.iterdir()) == before
