"""Every YAML file of conf/ can be composed, passes a run's check and has comments."""

import ast
import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import ROOT, Cli
from tunebook.config.comments import comments, description, keys_of
from tunebook.config.compose import compose_config, default_choices, keys, options, with_choices
from tunebook.config.run_config import RunConfig
from tunebook.config.targets import NAMED
from tunebook.runs.check import check

CONF = ROOT / "conf"
CLI = ROOT / "src" / "tunebook" / "cli"
OPTIONS = [
    (path.parent.name, path.stem)
    for path in sorted(CONF.rglob("*/*.yaml"))
    if not path.stem.startswith("_")
]
NEEDS = {
    ("trainer", "gpu"): "a GPU",
    # test_own_images.py and test_huggingface_runs.py train on them.
    ("data", "image_folder"): "images of the user",
    ("data", "image_table"): "images of the user",
    ("data", "huggingface"): "images of the user",
}


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda name: name)
def test_option_composes_and_can_run(group: str, option: str) -> None:
    cfg = compose_config("config", [f"{group}={option}"])
    if (group, option) in NEEDS:
        pytest.skip(f"needs {NEEDS[group, option]}")
    check(RunConfig.of(cfg))


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda name: name)
def test_option_says_what_it_is_and_every_key_what_it_means(group: str, option: str) -> None:
    assert re.match(r"\w", description(group, option))
    said = comments("config", {**default_choices(), group: option})
    there = list(keys(with_choices({**default_choices(), group: option})))
    for key in there:
        inner = any(other.startswith(f"{key}.") for other in there)
        if not key.endswith("_target_") and not inner and key not in NAMED:
            assert key in said, f"{key} has no comment"


def test_a_comment_begins_after_the_value() -> None:
    text = 'a: "b # c" # d\ne: # f\n  g: [1, 2] # h\ni:\n  - j: 3 # k\nl: m#n\n'
    found = [(key.path, key.line, key.comment) for key in keys_of(text)]
    expected = [("a", 0, "d"), ("e", 1, "f"), ("e.g", 2, "h")]
    assert found == [*expected, ("i", 3, ""), ("i.j", 4, "k"), ("l", 5, "")]


def test_every_primary_config_composes() -> None:
    for name in sorted(path.stem for path in CONF.glob("*.yaml")):
        overrides = ["run=0"] if name == "evaluate" else []
        assert compose_config(name, overrides)


def test_every_group_of_the_defaults_list_is_a_folder_and_the_reverse() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert set(default_choices()) == folders - {".schema"}


def test_help_tells_groups_options_settings_and_units(cli: Cli) -> None:
    result = cli("train.py", "--help")
    assert result.code == 0
    for group, option in OPTIONS:
        assert re.search(rf"^  [* ] {option} +\S", result.out, re.M), (group, option)
    assert "# learning rate, above 0" in result.out
    assert re.search(r"^  \* adadelta", result.out, re.M)


@pytest.mark.parametrize("script", ["predict.py", "compare.py"])
def test_help_tells_what_a_command_does_and_its_own_settings_first(cli: Cli, script: str) -> None:
    result = cli(script, "--help")
    assert result.code == 0
    summary = (ast.get_docstring(ast.parse((CLI / script).read_text())) or "").splitlines()[0]
    assert f"\n{summary}\n" in result.out
    assert "[-m" not in result.out
    own = {"predict.py": "images: ", "compare.py": "sweep_name: "}[script]
    assert result.out.index(f"\n{own}") < result.out.index("\ntracking:\n")


def test_help_shows_the_settings_of_a_kind_of_sweep_without_m(cli: Cli) -> None:
    result = cli("train.py", "sweep=asha", "--help")
    assert result.code == 0
    assert "reduction_factor: 3" in result.out


def test_help_fits_into_the_terminal() -> None:
    columns = 80
    terminal, its_end = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns)}
    words = [sys.executable, str(ROOT / "src" / "predict.py"), "--help"]
    shown = b""
    with subprocess.Popen(words, stdout=its_end, env=environment):
        os.close(its_end)
        with contextlib.suppress(OSError):  # EIO: the process has closed its end
            while part := os.read(terminal, 4096):
                shown += part
    os.close(terminal)
    lines = shown.decode().splitlines()
    settings = lines[lines.index("Settings:") :]
    assert max(map(len, settings)) <= columns
    config = OmegaConf.create("\n".join(settings[1:]))
    assert config.weights == "tested"


def test_cfg_job_is_yaml_with_comments_of_the_chosen_options(cli: Cli) -> None:
    result = cli("train.py", "--cfg", "job", "model=mlp", "optimizer=adam", "optimizer.lr=3e-4")
    cfg = OmegaConf.create(result.out)
    assert cfg.optimizer.lr == 3e-4
    assert cfg.model._target_ == "tunebook.networks.MLP"
    assert "hidden_layers: 2" in result.out
    assert "# of each hidden layer" in result.out


def test_names_are_answered_without_torch() -> None:
    code = (
        "import sys; sys.argv=['train.py', 'optimizer=adadleta']; sys.path.insert(0, 'src')\n"
        "import runpy\n"
        "try: runpy.run_path('src/train.py', run_name='__main__')\n"
        "except SystemExit as stop: print(stop.code, "
        "[m for m in ('torch', 'mlflow', 'pytorch_lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "2 []"
    assert done.stderr.strip().endswith("Did you mean 'adadelta'?")


def test_options_begin_with_no_underscore() -> None:
    assert "_common" not in options("data")
    assert Path(CONF / "data" / "_common.yaml").exists()
