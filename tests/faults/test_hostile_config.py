"""A stranger's config files and overrides set nothing of Hydra's own and run no code.

Neither do they read a file outside conf/.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Reads cases from standard input. For each, it adds the files to conf/, composes a config with the
# overrides, and prints the result.
COMPOSES = """
import json, os, sys
from pathlib import Path
from tunebook.config.validation import InputError, SettingError
from tunebook.config.compose import compose_config
try:
    from tunebook.config.files import ConfigError
except ImportError:
    from tunebook.config.compose import ConfigError
def add(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if content.startswith("-> "):
        path.symlink_to(content.removeprefix("-> "))
    elif content == "a pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content.encode(errors="surrogatepass"))
for files, words in json.load(sys.stdin):
    paths = [Path("conf", name) for name in files]
    for path, content in zip(paths, files.values()):
        add(path, content)
    try:
        compose_config("config", words)
        said = "composed"
    except (ConfigError, SettingError, InputError) as error:
        said = str(error)
    except Exception as error:
        said = f"traceback of {error!r}"
    print(json.dumps(said))
    for path in paths:
        path.unlink()
"""
JOB = (
    "hydra: {job: {env_set: {GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: core.fsmonitor, "
    "GIT_CONFIG_VALUE_0: 'touch canary; false'}}}\n"
)
LOG = (
    "hydra: {job_logging: {handlers: {file: {class: logging.FileHandler, filename: victim, "
    "mode: a}}, root: {handlers: [file]}}}\n"
)
BOMB = "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
GLOBAL = "# @package _global_\n"
# The files that a stranger adds to conf/, and the overrides that choose them.
FILES: dict[str, tuple[dict[str, str], list[str]]] = {
    "environment": ({"experiment/e.yaml": GLOBAL + JOB}, ["experiment=e"]),
    "log file": ({"experiment/e.yaml": GLOBAL + LOG}, ["experiment=e"]),
    "debug": ({"debug/e.yaml": GLOBAL + LOG}, ["debug=e"]),
    "data": ({"data/e.yaml": GLOBAL + "defaults: [digits]\n" + JOB}, ["data=e"]),
    "sweep": ({"sweep/e.yaml": GLOBAL + "defaults: [grid]\n" + LOG}, ["sweep=e"]),
    "below another": (
        {"experiment/e.yaml": "defaults: [deep]\n", "experiment/deep.yaml": GLOBAL + JOB},
        ["experiment=e"]),
    "of another group": (
        {"experiment/e.yaml": GLOBAL + "defaults: [/debug: d]\n", "debug/d.yaml": GLOBAL + LOG},
        ["experiment=e"]),
    "an underscored file": (
        {"data/e.yaml": "defaults: [_x]\n", "data/_x.yaml": GLOBAL + JOB}, ["data=e"]),
    "a package of Hydra": (
        {"experiment/e.yaml": "# @package hydra.job\nenv_set: {LD_PRELOAD: x.so}\n"},
        ["experiment=e"]),
    "a package of Hydra, from the root": (
        {"experiment/e.yaml": "# @package _global_.hydra\nverbose: true\n"}, ["experiment=e"]),
    "a package in a defaults list": (
        {"experiment/e.yaml": "defaults: [x@hydra.job: y]\n",
         "experiment/x/y.yaml": "env_set: {A: b}\n"}, ["experiment=e"]),
    "a package of an option": (
        {"experiment/e.yaml": "defaults: [/debug@_global_.hydra: d]\n",
         "debug/d.yaml": "verbose: true\n"},
        ["experiment=e"],
    ),
    "another of Hydra's options": (
        {"experiment/e.yaml": GLOBAL + "defaults: [override /hydra/job_logging: disabled]\n"},
        ["experiment=e"]),
    "a group of Hydra's": (
        {"experiment/e.yaml": GLOBAL + "defaults: [/hydra/env: e]\n", "hydra/env/e.yaml": JOB},
        ["experiment=e"]),
    "a search path": (
        {"experiment/e.yaml": GLOBAL + "hydra: {searchpath: ['file:///tmp']}\n"}, ["experiment=e"]),
    "help and findings": (
        {"experiment/e.yaml": GLOBAL + "hydra: {help: {template: x}, overrides: {task: [a=b]}}\n"},
        ["experiment=e"]),
    "callbacks": (
        {"experiment/e.yaml": GLOBAL + "hydra: {callbacks: {e: {_target_: os.system}}}\n"},
        ["experiment=e"]),
    "a file beside the primary": (
        {"experiment/e.yaml": "defaults: [/top]\n", "top.yaml": GLOBAL + JOB}, ["experiment=e"]),
    "a quoted key": (
        {"experiment/e.yaml": GLOBAL + "'hydra': {verbose: true}\n"}, ["experiment=e"]),
    "a merge key": (
        {"experiment/e.yaml": GLOBAL + "<<: {hydra: {verbose: true}}\n"}, ["experiment=e"]),
    "outside, from a file": (
        {"experiment/e.yaml": "defaults: [../../elsewhere/e]\n"}, ["experiment=e"]),
    "outside, from a file, by group": (
        {"experiment/e.yaml": GLOBAL + "defaults: [override /debug: ../../elsewhere/e]\n"},
        ["experiment=e"],
    ),
    "outside": ({}, ["experiment=../../elsewhere/e"]),
    "outside, with an ending": ({}, ["experiment=../../elsewhere/e.yaml"]),
    "outside, in a list": ({}, ["experiment=[keras_notebook,../../elsewhere/e]"]),
    "outside, absolute": ({}, ["experiment=//tmp/e"]),
    "outside, quoted": ({}, ["experiment='../../elsewhere/e'"]),
    "a link out of conf": (
        {"experiment/link.yaml": "-> ../../elsewhere/e.yaml"}, ["experiment=link"]),
    "a linked folder": ({"experiment/far": "-> ../../elsewhere"}, ["experiment=far/e"]),
    "a pipe": ({"experiment/e.yaml": "a pipe"}, ["experiment=e"]),
    "an option's package": ({"experiment/e.yaml": "verbose: true\n"}, ["experiment@hydra=e"]),
    "an added option's place": (
        {"experiment/e.yaml": "env_set: {A: b}\n"}, ["+experiment@hydra.job=e"]),
    "an option's place at the root": ({"experiment/e.yaml": JOB}, ["+experiment@_global_=e"]),
    "Hydra's group": ({}, ["hydra/job_logging=disabled"]),
    "Hydra's group, added": ({}, ["+hydra/job_logging=none"]),
    "Hydra's node": ({}, ["hydra={job:{env_set:{A:b}}}"]),
    "Hydra's search path": ({}, ["hydra.searchpath=[file:///tmp]"]),
    "Hydra's search path, added": ({}, ["++hydra.searchpath=[file:///tmp]"]),
    "Hydra's findings": ({}, ["hydra.runtime.output_dir=/tmp/x"]),
    "Hydra's name of the job": ({}, ["hydra.job.name=../../x"]),
    "less of Hydra": ({}, ["~hydra.job_logging"]),
    "a Python tag": (
        {"experiment/e.yaml": "seed: !!python/object/apply:os.system ['touch canary']\n"},
        ["experiment=e"]),
    "a tag of a path": (
        {"experiment/e.yaml": "outputs: !!python/object/apply:pathlib.PosixPath [x]\n"},
        ["experiment=e"]),
    "a tag of one's own": ({"experiment/e.yaml": "seed: !secret x\n"}, ["experiment=e"]),
    "no YAML": ({"experiment/e.yaml": "seed: [1\n"}, ["experiment=e"]),
    "a list": ({"experiment/e.yaml": "[1, 2]\n"}, ["experiment=e"]),
    "a text": ({"experiment/e.yaml": "hello\n"}, ["experiment=e"]),
    "bytes": ({"experiment/e.yaml": "\ud800"}, ["experiment=e"]),
    "a bomb": ({"experiment/e.yaml": "a: &a [x, x]\n" + BOMB}, ["experiment=e"]),
    "a deep value": (
        {"experiment/e.yaml": "a: " + "[" * 3000 + "]" * 3000 + "\n"}, ["experiment=e"]),
    "a long file": ({"experiment/e.yaml": "# x\n" * 200_000}, ["experiment=e"]),
    "a long number": ({"experiment/e.yaml": GLOBAL + f"seed: {'9' * 5000}\n"}, ["experiment=e"]),
    "a bad header": ({"experiment/e.yaml": "# @package a b c\nseed: 1\n"}, ["experiment=e"]),
    "a key that is nobody's": ({"experiment/e.yaml": GLOBAL + "sed: 3\n"}, ["experiment=e"]),
    "a package left out": ({"experiment/e.yaml": "seed: 3\n"}, ["experiment=e"]),
    "a file that includes itself": (
        {"experiment/e.yaml": "# @package _global_\ndefaults: [e]\n"}, ["experiment=e"]),
    "a file that includes the primary config": (
        {"experiment/e.yaml": "# @package _global_\ndefaults: [/config]\n"}, ["experiment=e"]),
    "less than a run needs": ({}, ["~seed"]),
    "a callback that writes files": (
        {"callbacks/e.yaml": "x: {_target_: pytorch_lightning.callbacks.ModelCheckpoint, "
         "dirpath: elsewhere}\n"},
        ["callbacks=e"],
    ),
    "a key twice": ({"experiment/e.yaml": GLOBAL + "seed: 1\nseed: 2\n"}, ["experiment=e"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project to which a test may add files."""
    folder = tmp_path_factory.mktemp("hostile") / "project"
    for name in ("src", "conf"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "e.yaml").write_text(GLOBAL + "seed: 7\n")
    return folder


def composed(project: Path, cases: list[tuple[dict[str, str], list[str]]]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", COMPOSES], input=json.dumps(cases), capture_output=True, text=True,
        timeout=120, cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_file_and_no_word_reaches_what_is_not_theirs(project: Path) -> None:
    said = dict(zip(FILES, composed(project, list(FILES.values())), strict=True))
    wrong = {
        case: line
        for case, line in said.items()
        if line == "composed" or "traceback" in line or "\n" in line or len(line) > 600
    }
    assert not wrong
    assert not (project / "canary").exists()
    # The content of a file outside conf/ is not printed either: it was never read.
    assert not any("seed" in line for case, line in said.items() if case.startswith("outside"))


def test_a_project_of_ones_own_files_composes(project: Path) -> None:
    mine = (
        "defaults: [override /model: mlp, {override /optimizer: adam}]\n"
        "seed: 3\nmodel: {dense_units: 8}\n"
    )
    files = {
        "experiment/mine.yaml": GLOBAL + mine,
        "model/wide.yaml": "defaults: [mlp, _self_]\ndense_units: &n 1024\n",
        "experiment/below/mine.yaml": GLOBAL + "seed: 4\n",
    }
    words = [
        ["experiment=mine"],
        ["model=wide"],
        ["experiment=below/mine"],
        ["hydra.verbose=true"],
        ["hydra.run.dir=x"],
    ]
    assert composed(project, [(files, each) for each in words]) == ["composed"] * len(words)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "must hold settings"),
        ("# nothing yet\n", "must hold settings"),
        ("seed: 3\n", f"must begin with the line `{GLOBAL.strip()}`"),
    ],
)
def test_an_experiment_that_sets_nothing_is_said(project: Path, content: str, said: str) -> None:
    (line,) = composed(project, [({"experiment/mine.yaml": content}, ["experiment=mine"])])
    assert line.startswith("conf/experiment/mine.yaml: ")
    assert said in line


@pytest.mark.parametrize(
    "flag",
    [
        [],
        ["--cfg", "job"],
        ["--cfg", "hydra"],
        ["--info", "config"],
        ["--hydra-help"],
        ["--help"],
        ["-m"],
    ],
)
def test_no_flag_lets_a_log_file_be_written(project: Path, flag: list[str]) -> None:
    victim = project / "victim"
    victim.write_text("as before\n")
    config = LOG.replace("victim", str(victim)) + "debug: null\n"
    (project / "conf" / "experiment" / "log_file.yaml").write_text(GLOBAL + config)
    done = subprocess.run(
        [sys.executable, str(project / "src" / "train.py"), *flag, "experiment=log_file",
         "data=digits", "trainer.max_epochs=0"],
        capture_output=True, text=True, timeout=120, cwd=project,
    )  # fmt: skip
    assert done.returncode == 2
    assert "conf/experiment/log_file.yaml" in done.stderr
    assert done.stderr.count("\n") == 1
    assert victim.read_text() == "as before\n"


@pytest.mark.parametrize(
    "flag",
    [
        ["--config-dir", "x"],
        ["--config-path=x"],
        ["-cd", "x"],
        ["-cp", "x"],
        ["-cn", "x"],
        ["--config-di=x"],
    ],
)
def test_configs_are_read_from_one_folder(project: Path, flag: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(project / "src" / "train.py"), *flag],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=project,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --config-")
    assert done.stderr.count("\n") == 1
