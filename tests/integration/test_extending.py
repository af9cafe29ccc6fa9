"""The classes and options of docs/extending.md work as they are printed there.

They are written into a project and trained. Their runs are killed, resumed, swept and repeated.
"""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import ROOT, runs_in
from tests.helpers.pages import files_shown, write_files
from tests.helpers.projects import NAME, environment, project, succeed, tunebook, written
from tests.helpers.runs import TIMES
from tunebook import program
from tunebook.config.targets import KINDS

__all__ = ["project", "written"]  # fixtures
pytestmark = pytest.mark.xdist_group("project")

PAGE = (ROOT / "docs" / "extending.md").read_text()
(COMMAND,) = re.findall(r"^tunebook (train data=stripes .*)$", PAGE, re.M)
SMALL = (
    "data.source.train_size=600", "data.source.test_size=200", "trainer=cpu",
    "trainer.max_epochs=3", "data.batch_size=32", "tracking.system_metrics=false",
    "tracking.save_model=false", "tracking.save_pictures=false",
)  # fmt: skip
WORDS = (*shlex.split(COMMAND), *SMALL)


@pytest.fixture(scope="module")
def extended(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with every file of the page, and one run of the page's command."""
    folder = Path(shutil.copytree(written, tmp_path_factory.mktemp("extended") / NAME))
    write_files(PAGE, folder)
    succeed(folder, *WORDS)
    return folder


def test_every_kind_of_class_is_shown() -> None:
    shown = {
        file.split("/")[1]
        for file, text in files_shown(PAGE).items()
        if f"_target_: {NAME}" in text
    }
    wanted = {kind.partition(".")[0] for kind, each in KINDS.items() if each.takes_own}
    assert shown == wanted - {"sweep"}  # whose samplers and pruners are written for Optuna


def test_an_optimizer_of_the_page_is_short() -> None:
    code = files_shown(PAGE)["src/my_project/optimizers.py"]
    body = code.partition("def step")[2].splitlines()
    assert len(body) <= 15


@pytest.mark.slow
def test_a_run_of_the_page_is_recorded(extended: Path) -> None:
    run = runs_in(extended)[0]
    found = run.data.metrics
    assert found["test/acc"] > 0.65  # 0.5 by chance
    assert found["test/worst_recall"] <= found["test/acc"]
    assert found["best/val_worst_recall"] > 0.6
    assert found["gradient/peaks"] >= 0
    assert run.data.params["optimizer.beta1"] == "0.9"
    assert run.data.params["callbacks.gradient_peaks.limit"] == "1.0"
    name = f"run={run.info.run_id}"
    assert succeed(extended, "evaluate", name).count("the same as recorded") == 3
    Image.new("L", (8, 8), 90).save(extended / "grey.png")
    said = succeed(extended, "predict", name, "images=grey.png")
    assert re.search("horizontal|vertical", said)
    assert "the same: all " in succeed(extended, "reproduce", name)
    succeed(extended, "schema")
    succeed(extended, "schema", "check=true")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["optimizer=asgd", "loss=margin", "metrics=kappa"])
def test_options_of_the_libraries(extended: Path, option: str) -> None:
    words = ("train", "data=stripes", "model=linear", option, *SMALL, "trainer.max_epochs=1")
    succeed(extended, *words, "experiment_name=libraries")


def killed_at_epoch(folder: Path, epoch: int, *words: str) -> None:
    """Kill a run, which nothing can catch, soon after the line of an epoch."""
    command = [sys.executable, str(program.FILE), *words]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(rb"epoch +%d/" % epoch, line):
            process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait(60) == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_run_ends_as_if_undisturbed(extended: Path) -> None:
    """The states of optimizer, schedule and callback are those of the whole run."""
    words = (*WORDS, "trainer.max_epochs=12", "checkpoint_every_s=0.001", "experiment_name=killed")
    succeed(extended, *words)
    killed_at_epoch(extended, 4, *words)
    succeed(extended, "train", "resume=last", "tracking=mlflow_json")
    before, after = [
        run for run in runs_in(extended) if run.data.tags["command"].endswith("=killed")
    ]
    assert [before.info.status, after.info.status] == ["FINISHED"] * 2
    assert after.data.tags["folder"] != before.data.tags["folder"]
    names = {name for name in before.data.metrics if not name.startswith(TIMES)}
    assert {name: after.data.metrics[name] for name in names} == {
        name: before.data.metrics[name] for name in names
    }
    first, second = (_weights(extended, run.info.run_id) for run in (before, after))
    assert all(torch.equal(first[name], second[name]) for name in first)
    folders = [Path(run.data.tags["folder"]) for run in (before, after)]
    assert _points_of_logger(folders[0]) == _points_of_logger(folders[1])


def _points_of_logger(folder: Path) -> list[tuple[int, str, float]]:
    """Return the points that the page's logger has, without times; assert that none is twice."""
    lines = (folder / "loggers" / "json_lines" / "metrics.jsonl").read_text().splitlines()
    settings, *logged = map(json.loads, lines)
    assert settings["loss.q"] == "0.7"
    points = [
        (step["step"], name, value)
        for step in logged
        for name, value in step.items()
        if name != "step"
    ]
    assert len({point[:2] for point in points}) == len(points)
    return sorted(point for point in points if not point[1].startswith(TIMES))


def _weights(folder: Path, run_id: str) -> dict[str, torch.Tensor]:
    (file,) = (folder / "mlruns").rglob(f"{run_id}/artifacts/checkpoints/last.ckpt")
    weights: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return weights


@pytest.mark.slow
def test_settings_of_ones_own_are_swept(extended: Path) -> None:
    varied = ["optimizer.beta1=0.5,0.9", "loss.q=0.3,0.7", "sweep.name=own", "sweep.workers=1"]
    succeed(extended, *WORDS[:1], "-m", *WORDS[1:], "trainer.max_epochs=1", *varied)
    found = succeed(extended, "compare", "sweep=own", "report=false")
    assert "optimizer.beta1" in found
    assert "loss.q" in found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("loss.q=2", "loss.q=2: must be less than or equal to 1"),
        ("optimizer.beta1=-1", "optimizer.beta1=-1: must be greater than or equal to 0"),
        ("metrics.worst_recall.classes=0", "metrics.worst_recall.classes=0: must be greater"),
        ("callbacks.gradient_peaks.limti=1", "Did you mean 'callbacks.gradient_peaks.limit'?"),
        ("loss._target_=my_project.losses.GeneralisedCrossEntropy", "Did you mean 'Generalized"),
        ("loss._target_=my_project.optimizers.Lion", "must be a Module of my_project.optimizers"),
    ],
)
def test_a_wrong_setting_is_one_line(extended: Path, word: str, said: str) -> None:
    result = tunebook(extended, *WORDS, word)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert said in result.err


def test_the_examples_of_the_page_are_whole() -> None:
    files = files_shown(PAGE)
    assert len(files) >= 18
    for file, text in files.items():
        if file.endswith(".py"):
            compile(text, file, "exec")
        else:
            settings = yaml.safe_load(text)
            assert "_target_" in text
            assert isinstance(settings, dict)
            group = file.split("/")[1]
            schema, about = text.splitlines()[:2]
            assert schema == f"# yaml-language-server: $schema=../.schema/{group}.json"
            assert about.startswith("# ")
