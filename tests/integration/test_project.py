"""A user's own project: written by `init`, found from the working directory, trusted alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from tests.conftest import ROOT
from tests.faults.test_hostile_config import COMPOSES, GLOBAL, JOB
from tests.helpers.projects import (
    NAME,
    TABLE,
    environment,
    make,
    project,
    tunebook,
    was_imported,
    watched,
    written,
)
from tunebook.cli import dispatch, init
from tunebook.config.paths import PROJECT
from tunebook.config.project import FILE, VARIABLE, ProjectError, find_project

__all__ = ["project", "watched", "written"]  # fixtures
pytestmark = pytest.mark.xdist_group("project")  # so that one project is written


class TestInit:
    def test_the_editor_knows_each_file(self, written: Path) -> None:
        folder = written / "conf" / ".schema"
        schemas = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
        registry: Registry[Any] = Registry().with_resources(
            (name, Resource.from_contents(schema)) for name, schema in schemas.items()
        )
        files = sorted((written / "conf").glob("*/*.yaml"))
        assert len(files) == 3
        for file in files:
            validator = Draft7Validator({"$ref": f"{file.parent.name}.json"}, registry=registry)
            assert f"$schema=../.schema/{file.parent.name}.json\n" in file.read_text()
            content = yaml.safe_load(file.read_text())
            assert not list(validator.iter_errors(content))
            assert list(validator.iter_errors({**content, "widht": 3}))
        settings = json.loads((written / ".vscode" / "settings.json").read_text())["yaml.schemas"]
        assert {Path(schema).name for schema in settings} == set(schemas)

    def test_ruff_finds_nothing_with_its_default_settings(self, written: Path) -> None:
        for command in (["check"], ["format", "--check"]):
            words = [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "."]
            subprocess.run(words, cwd=written, check=True, capture_output=True)

    @pytest.mark.slow
    def test_its_own_tests_pass(self, project: Path, tmp_path: Path) -> None:
        """They train the first experiment, and can be started in any folder."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(project)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 passed" in done.stdout
        assert not (project / "mlflow.db").exists()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["my-project"], "Did you mean 'my_project'?"),
            (["3d"], "Did you mean 'my_3d'?"),
            (["Été 1"], "Did you mean 'ete_1'?"),
            (["../x"], "Did you mean 'x'?"),
            (["class"], "Did you mean 'my_class'?"),
            (["os"], "Did you mean 'my_os'?"),
            (["tunebook"], "Did you mean 'my_tunebook'?"),
            (["torch"], "is the name of an installed package"),
            ([""], "Did you mean 'my_project'?"),
            (["taken"], "already exists, as a file or a folder that is not empty"),
            (["a_file"], "already exists, as a file or a folder that is not empty"),
            (["a_link"], "already exists, as a file or a folder that is not empty"),
            ([], "required: name"),
            (["a", "b"], "unrecognized arguments: b"),
        ],
    )
    def test_what_it_refuses(
        self,
        words: list[str],
        said: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "mine").touch()
        (tmp_path / "a_file").touch()
        (tmp_path / "a_link").symlink_to(tmp_path / "nowhere")
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["/anywhere/tunebook", "init", *words])
        with pytest.raises(SystemExit) as stop:
            dispatch.main()
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert said in error
        assert error.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before

    def test_it_writes_all_or_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / NAME).mkdir()
        monkeypatch.setitem(init.FILES, "conf/no_group/x.yaml", "small_cnn.yaml")
        with pytest.raises(subprocess.CalledProcessError) as failed:
            init.write(tmp_path / NAME)
        assert "no_group: there is no such config group" in failed.value.stderr
        assert list(tmp_path.rglob("*")) == [tmp_path / NAME]


class TestFinding:
    def test_the_nearest_above_counts(self, tmp_path: Path) -> None:
        outer = make(tmp_path, f'{TABLE}package = "outer_p"\n', "outer_p/__init__.py")
        inner = make(tmp_path / "inner", f'{TABLE}package = "inner_p"\n', "src/inner_p/__init__.py")
        make(inner / "below", "[project]\nname = 'tunebook'\n")
        found = find_project(inner / "below")
        assert found is not None
        assert (found.folder, found.code) == (inner, inner / "src" / "inner_p")
        found = find_project(outer)
        assert found is not None
        assert (found.name, found.owns("outer_p.x"), found.owns("outer_px")) == (
            "outer_p", True, False,
        )  # fmt: skip

    def test_the_environment_goes_before_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here, there = (make(tmp_path / name, TABLE) for name in ("here", "there"))
        monkeypatch.setenv(VARIABLE, str(there))
        found = find_project(here)
        assert found is not None
        assert (found.name, found.package) == ("there", "")
        monkeypatch.setenv(VARIABLE, "")
        assert find_project(here) is None
        monkeypatch.setenv(VARIABLE, str(tmp_path))
        with pytest.raises(ProjectError, match=r"no pyproject\.toml with a table"):
            find_project(here)

    def test_a_checkout_is_no_project(self) -> None:
        assert find_project(ROOT / "src") is None
        assert PROJECT is None

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (f"{TABLE}conf = ", "is not valid TOML"),
            ("[tool]\ntunebook = 3\n", "must be a table"),
            (f'{TABLE}pakcage = "x"\n', "Did you mean 'package'?"),
            (f"{TABLE}conf = 3\n", "must be a text"),
            (f'{TABLE}conf = "config"\n', "no such folder"),
            (f'{TABLE}conf = ".."\n', "no such folder"),
            (f'{TABLE}conf = "/etc"\n', "no such folder"),
            (f'{TABLE}conf = ""\n', "no such folder"),
            (f'{TABLE}package = "my-project"\n', "is not a valid package name"),
            (f'{TABLE}package = "../there"\n', "is not a valid package name"),
            (f'{TABLE}package = "torch"\n', "is the name of an installed package"),
            (f'{TABLE}package = "tunebook"\n', "has already"),
            (f'{TABLE}package = "json"\n', "has already"),
            (f'{TABLE}package = "there"\n', "there is neither src/there/__init__.py nor"),
        ],
    )
    def test_one_that_cannot_be_used(self, tmp_path: Path, text: str, said: str) -> None:
        make(tmp_path, text, "torch/__init__.py", "tunebook/__init__.py")
        with pytest.raises(ProjectError, match=re.escape(said)) as refused:
            find_project(tmp_path)
        assert "\n" not in str(refused.value)
        assert str(tmp_path / FILE) in str(refused.value)

    def test_invalid_files_of_others_are_no_project(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_text("x = = 1\n")
        assert find_project(tmp_path) is None
        (tmp_path / FILE).unlink()
        os.mkfifo(tmp_path / FILE)
        assert find_project(tmp_path) is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_another_users_needs_to_be_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.chown(make(tmp_path, TABLE) / FILE, 12345, -1)
        with pytest.raises(ProjectError, match="belongs to another user"):
            find_project(tmp_path)
        monkeypatch.setenv(VARIABLE, str(tmp_path))
        assert find_project(tmp_path) is not None

    def test_the_digest_is_that_of_the_code(self, tmp_path: Path) -> None:
        def digest() -> str:
            found = find_project(tmp_path)
            assert found is not None
            return found.code_digest

        file = make(tmp_path, f'{TABLE}package = "some_p"\n', "some_p/__init__.py") / "some_p/a.py"
        before = digest()
        (tmp_path / "notes.txt").touch()
        assert digest() == before
        file.write_text("x = 1\n")
        one = digest()
        file.rename(file.with_name("b.py"))
        assert len({before, one, digest()}) == 3


OTHER = "other code is never run from a config"
CASES: dict[str, tuple[dict[str, str], list[str], str]] = {
    "an experiment": ({}, ["experiment=first"], "composed"),
    "their option and ours": ({}, ["model=small_cnn", "data=digits", "model.width=3"], "composed"),
    "in place of ours": (
        {"model/mlp.yaml": f"_target_: {NAME}.networks.SmallCNN\nwidth: 3\ndropout: 0.1\n"},
        ["model=mlp", "model.width=4"], "composed"),
    "ours in a file of theirs": (
        {"data/mine.yaml": "defaults: [digits]\nbatch_size: 32\n"}, ["data=mine"], "composed"),
    "a class of another kind's library": (
        {"optimizer/mine.yaml": f"_target_: {NAME}.optimizers.Mine\nlr: 0.1\n"},
        ["optimizer=mine"], "composed"),
    "a misspelt option": ({}, ["model=smal_cnn"], "Did you mean 'small_cnn'?"),
    "a misspelt setting": ({}, ["model=small_cnn", "model.widht=3"], "Did you mean 'model.width'?"),
    "a setting of the replaced option": (
        {"model/mlp.yaml": f"_target_: {NAME}.networks.SmallCNN\nwidth: 3\n"},
        ["model=mlp", "model.hidden_layers=2"], "no such setting"),
    "a primary config": (
        {"config.yaml": "seed: 1\n"}, [], "conf/config.yaml: a project has no primary config"),
    "another package": ({}, ["model=small_cnn", "model._target_=another.networks.CNN"], OTHER),
    "a longer name": ({}, ["model=small_cnn", f"model._target_={NAME}_evil.CNN"], OTHER),
    "the standard library": ({}, ["model=small_cnn", "model._target_=os.system"], OTHER),
    "a private module": (
        {}, ["model=small_cnn", f"model._target_={NAME}._x.CNN"], "must be the dotted name"),
    "a logger": ({}, [f"tracking._target_={NAME}.data.Shapes"], OTHER),
    "Hydra's settings": ({"experiment/e.yaml": GLOBAL + JOB}, ["experiment=e"], "sets hydra"),
    "a link out of conf": (
        {"experiment/e.yaml": "-> ../../pyproject.toml"}, ["experiment=e"], "is outside conf/"),
    # The last, since the folder stays.
    "no group": ({"optimiser/x.yaml": "lr: 1\n"}, [], "Did you mean 'optimizer'?"),
}  # fmt: skip


def composed(folder: Path, cases: list[tuple[dict[str, str], list[str]]]) -> list[str]:
    """Return what composing says of each case, in one process without torch."""
    command = [sys.executable, "-c", COMPOSES]
    done = subprocess.run(
        command, cwd=folder, env=environment(), input=json.dumps(cases),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_config_files_and_names_of_a_project(watched: Path) -> None:
    said = composed(watched, [(files, words) for files, words, _ in CASES.values()])
    wrong = {
        case: line
        for (case, (*_, wanted)), line in zip(CASES.items(), said, strict=True)
        if wanted not in line or "\n" in line
    }
    assert not wrong
    assert not was_imported(watched)


def test_the_package_is_not_trusted_outside_its_project(watched: Path, tmp_path: Path) -> None:
    words = [f"model._target_={NAME}.networks.SmallCNN"]
    other = make(tmp_path / "other", TABLE)
    for folder, advice in (
        (tmp_path, "into a project of your own: tunebook init, see docs/extending.md"),
        (other, f"name your own package in {other}/pyproject.toml: [tool.tunebook], package"),
    ):
        (line,) = composed(folder, [({}, words)])
        assert OTHER in line
        assert line.endswith(advice)
    assert not was_imported(watched)


def test_every_command_tells_of_a_project_that_cannot_be_used(tmp_path: Path) -> None:
    make(tmp_path, f'{TABLE}conf = "config"\n')
    result = tunebook(tmp_path, "train")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert 'tool.tunebook.conf="config": no such folder' in result.err
    assert tunebook(tmp_path, "--version").code == 0
