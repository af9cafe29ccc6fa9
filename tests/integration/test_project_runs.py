"""Runs and sweeps in a user's own project, through the command line and from Python."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT, runs_in
from tests.helpers.projects import (
    FIRST,
    NAME,
    TABLE,
    environment,
    first,
    make,
    project,
    succeed,
    tunebook,
    was_imported,
    watched,
    written,
)
from tests.integration.test_project import OTHER
from tunebook import program
from tunebook.config.project import FILE

__all__ = ["project", "watched", "written"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nonexistent\n", "ModuleNotFoundError: No module named 'nonexistent'"),
        ("x = 1 +\n", "SyntaxError: invalid syntax"),
        ("y = x\n", "NameError: name 'x' is not defined"),
    ],
)
def test_a_module_with_a_mistake_is_one_line(project: Path, code: str, said: str) -> None:
    (project / "src" / NAME / "networks.py").write_text(code)
    result = tunebook(project, "train", *FIRST)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert f"model._target_={NAME}.networks.SmallCNN: its module can't be imported" in result.err
    assert said in result.err
    assert "networks.py, line 1)" in result.err
    assert not (project / "outputs").exists()


def test_every_command_works_in_a_project(watched: Path) -> None:
    """A run is trained, tested, repeated and used; all is kept in the project's folder."""
    said = succeed(watched / "tests", "train", *FIRST)
    assert was_imported(watched)
    (run,) = runs_in(watched)
    assert f"tunebook evaluate run={run.info.run_id}\n" in said
    tags = run.data.tags
    assert tags["command"] == f"tunebook train {' '.join(FIRST)}"
    assert (tags["project"], len(tags["project.code"])) == (NAME, 16)
    assert tags["git.commit"] == "none"
    assert {path.name for path in (watched / "tests").iterdir()} == {
        "conftest.py", "test_first.py",
    }  # fmt: skip
    assert succeed(watched, "evaluate", "run=last").count("the same as recorded") == 2
    Image.new("L", (16, 16), 90).save(watched / "tests" / "grey.png")
    assert re.search(
        "circle|square", succeed(watched / "tests", "predict", "run=last", "images=grey.png")
    )
    assert "the same: all " in succeed(watched, "reproduce", "run=last")
    was_imported(watched)
    assert re.search("\n  [* ] first +Circles and squares", succeed(watched, "train", "--help"))
    succeed(watched, "schema", "check=true")
    network = watched / "src" / NAME / "networks.py"
    network.write_text(network.read_text().replace("nn.ReLU()", "nn.Tanh()"))
    result = tunebook(watched, "reproduce", f"run={run.info.run_id}")
    assert result.code == 1
    assert re.search(r"project.code: \w{16} -> \w{16}\n", result.out)


@pytest.mark.parametrize(
    "executor",
    [
        ["sweep.workers=2"],
        ["sweep.executor=ray", "sweep.workers=1"],
        ["sweep.executor=slurm", "sweep.slurm.cluster=local", "sweep.workers=1"],
    ],
    ids=["local", "ray", "slurm"],
)
def test_a_sweep_over_a_setting_of_ones_own(project: Path, executor: list[str]) -> None:
    name = "sweep.name=widths"
    said = succeed(
        project / "src", "train", "-m", *FIRST, "model.width=4,8", "seed=1,2", name, *executor
    )
    assert "findings       tunebook compare sweep=widths\n" in said
    runs = runs_in(project)
    assert [run.info.status for run in runs] == ["FINISHED"] * 5
    assert len({run.data.tags["project.code"] for run in runs}) == 1
    found = succeed(project, "compare", "sweep=widths", "report=false")
    assert "model.width" in found


KINDS = """
import optuna, pytorch_lightning, torch

class Optimizer(torch.optim.SGD):
    def __init__(self, params, lr: float):
        super().__init__(params, lr)

class Schedule(torch.optim.lr_scheduler.StepLR):
    pass

class Augmentation(torch.nn.Module):
    def forward(self, images, index, key):
        return images.flip(-1)

class Count(pytorch_lightning.Callback):
    def __init__(self, monitor, says: str):
        self.line = f"{says} {monitor}"
    def on_train_start(self, trainer, module):
        print(self.line)

class Sampler(optuna.samplers.RandomSampler):
    pass
"""
FILES = {
    "optimizer": "_target_: my_project.kinds.Optimizer\nlr: 0.1\n",
    "scheduler": "_target_: my_project.kinds.Schedule\nstep_size: 1\ninterval: epoch\n",
    "augmentation": "_target_: my_project.kinds.Augmentation\n",
    "callbacks": "count: {_target_: my_project.kinds.Count, says: begins with}\n",
    "sweep": "defaults: [_common]\nsampler: {_target_: my_project.kinds.Sampler}\ntrials: 2\n",
}


def test_classes_of_each_kind_can_be_ones_own(project: Path) -> None:
    (project / "src" / NAME / "kinds.py").write_text(KINDS)
    for group, text in FILES.items():
        (project / "conf" / group).mkdir(exist_ok=True)
        (project / "conf" / group / "mine.yaml").write_text(text)
    words = [f"{group}=mine" for group in FILES if group != "sweep"]
    said = succeed(project, "train", *FIRST, *words)
    assert "begins with val/acc\n" in said
    varied = ["sweep=mine", "model.width=range(4,9)", "sweep.workers=1"]
    succeed(project, "train", "-m", *FIRST, *words, *varied)
    assert [run.info.status for run in runs_in(project)] == ["FINISHED"] * 4
    succeed(project, "schema")


def test_other_devices_processes_find_the_project(project: Path) -> None:
    devices = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    succeed(project / "src", "train", *first(*devices))
    assert [run.info.status for run in runs_in(project)] == ["FINISHED"]


def test_a_run_is_resumed_and_other_code_is_noticed(project: Path) -> None:
    longer = first("trainer.max_epochs=60", "experiment_name=resumed")
    succeed(project, "train", *longer)
    command = [sys.executable, str(program.FILE), "train", *longer]
    process = subprocess.Popen(command, cwd=project, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(rb"epoch +3/", line):
            process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.wait(60) == 143
    network = project / "src" / NAME / "networks.py"
    network.write_text(f"{network.read_text()}\n# a remark\n")
    assert re.search(
        r"project.code \w{16} -> \w{16}: \w+ may differ\n",
        succeed(project, "train", "resume=last"),
    )
    before, after = runs_in(project)
    assert [before.info.status, after.info.status] == ["FINISHED"] * 2
    for metric in ("test/loss", "test/acc", "val/loss", "train/loss"):
        assert before.data.metrics[metric] == after.data.metrics[metric]


def test_a_strangers_run_runs_nothing(watched: Path, tmp_path: Path) -> None:
    """What was trained in one project is refused in another one, and in none."""
    succeed(watched, "train", *first("trainer.max_epochs=1"))
    (run,) = runs_in(watched)
    assert was_imported(watched)
    (record,) = (watched / "outputs").glob("2*/*/run.json")
    file = tmp_path / "last.ckpt"
    (stored,) = (watched / "mlruns").rglob("last.ckpt")
    shutil.copy(stored, file)
    for name in ("src", "conf"):  # a run's folder is no project, even if it looks like one
        shutil.copytree(watched / name, record.parent / name)
    shutil.copy(watched / FILE, record.parent)
    store = f"tracking.uri=sqlite:///{watched}/mlflow.db"
    Image.new("L", (16, 16)).save(tmp_path / "black.png")
    longer = ["resume_changes=true", "trainer.max_epochs=3"]
    commands: list[list[str]] = [
        ["evaluate", f"run={run.info.run_id}", store],
        ["evaluate", f"run={file}"],
        ["predict", f"run={file}", f"images={tmp_path}/black.png"],
        ["reproduce", f"run={run.info.run_id}", store],
        ["train", f"resume={file}", *longer],
        ["train", f"resume={record.parent}", *longer],
    ]
    other = make(tmp_path / "other", f'{TABLE}package = "other_p"\n', "other_p/__init__.py")
    for words, folder in zip(commands, [other, tmp_path] * 3, strict=True):
        result = tunebook(folder, *words)
        error = result.err.splitlines()[-1]
        assert result.code == 2, (words, result)
        assert OTHER in error or "no such option" in error, (words, result)
    assert not was_imported(watched)
    assert not was_imported(record.parent)


def block(page: str, heading: str) -> list[str]:
    """Return the lines of the first sh block below a heading of a page."""
    text = (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")[2]
    return text.partition("```sh\n")[2].partition("```")[0].splitlines()


def test_the_commands_of_the_documentation(tmp_path: Path) -> None:
    """They run as they are, but that each training gets fewer epochs and images."""
    lines = block("extending.md", "A project of your own")
    assert len(lines) == 6
    shrunk = [line.replace("experiment=first", " ".join(FIRST)) for line in lines]
    programs = {"tunebook": f"{sys.executable} {program.FILE}", "python": sys.executable}
    for name, words in programs.items():
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        ["bash", "-ec", "\n".join(shrunk)],
        cwd=tmp_path / "work",
        env=environment(PATH=f"{tmp_path}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "model.width" in done.stdout
    assert "2 passed" in done.stdout


def run_api(folder: Path, code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_python_uses_the_project_as_well(project: Path) -> None:
    code = (
        "import tunebook\n"
        "if __name__ == '__main__':\n"
        f"    run = tunebook.train(*{FIRST!r})\n"
        f"    sweep = tunebook.sweep(*{FIRST!r}, 'model.width=4,8', 'sweep.workers=1')\n"
        "    print(run.evaluate() == {k: run.metrics[k] for k in ('test/loss', 'test/acc')})\n"
        "    print(type(sweep.best.model()).__module__)\n"
    )
    assert run_api(project, code)[-2:] == ["True", f"{NAME}.networks"]
    (project / FILE).write_text(TABLE + "conf = 3\n")
    code = "import tunebook\ntry: tunebook.train()\nexcept ValueError as error: print(error)\n"
    assert run_api(project, code)[-1].endswith("tool.tunebook.conf: must be a text")
