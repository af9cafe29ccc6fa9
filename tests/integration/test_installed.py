"""Check the command `tunebook`: in this process, and installed from a wheel."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL, Cli, Result, run_process, runs_in
from tests.helpers.projects import FIRST, NAME
from tunebook import program
from tunebook.cli import dispatch
from tunebook.cli.dispatch import COMMANDS, summary

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSOLE = "/anywhere/bin/tunebook"


@pytest.fixture
def tunebook(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs the command `tunebook` in this process."""

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", [CONSOLE, *arguments])
        code = 0
        try:
            dispatch.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        assert sys.argv == [CONSOLE, *arguments]
        return Result(code, *capfd.readouterr())

    return call


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]], ids=str)
def test_help_has_a_line_for_each_command(tunebook: Cli, words: list[str]) -> None:
    result = tunebook(*words)
    assert result.code == 0
    for command in COMMANDS:
        assert summary(command).endswith(".")
        assert f"\n  {command:<13} {summary(command)}\n" in result.out
    assert result.out.endswith("tunebook train data=digits debug=quick\n")


def test_version_is_the_installed_one(tunebook: Cli) -> None:
    version = importlib.metadata.version("tunebook")
    assert tunebook("--version") == Result(0, f"tunebook {version}\n", "")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "'train'"), ("compar", "'compare'"), ("--hlep", "'--help'"), ("a\nb", "")],
)
def test_an_unknown_command_is_one_line(tunebook: Cli, word: str, hint: str) -> None:
    result = tunebook(word, "optimizer=adam")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("error: ")
    assert "no such command; allowed: init, train, evaluate, " in result.err
    assert result.err.endswith(f" Did you mean {hint}?\n" if hint else "--completion.\n")


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"bench", "init"}))
def test_a_command_says_what_its_script_says(tunebook: Cli, cli: Cli, command: str) -> None:
    ours, script = tunebook(command, "--help"), cli(f"{command}.py", "--help")
    assert ours.code == script.code == 0
    first, _, rest = ours.out.partition("\n")
    expected = script.out.partition("\n")[2]
    assert rest == expected.replace(f"python src/{command}.py", f"tunebook {command}")
    assert first.startswith(f"usage: tunebook {command} [group=option ...]")
    assert script.out.startswith(f"usage: python {ROOT}/src/{command}.py [group=option ...]")


def test_bad_input_is_told_as_a_script_tells_it(tunebook: Cli, cli: Cli) -> None:
    assert tunebook("train", "optimizer=adadleta") == cli("train.py", "optimizer=adadleta")


def test_the_next_command_is_called_as_this_one_was(tunebook: Cli, cli: Cli) -> None:
    assert tunebook("evaluate", "-m", "run=0").err.endswith("can do: tunebook train -m ...\n")
    assert cli("evaluate.py", "-m", "run=0").err.endswith("can do: python src/train.py -m ...\n")


class TestProgram:
    """Check the module that knows how this process was called."""

    def test_a_script_of_a_checkout_calls_scripts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        called = ["src/train.py", "seed=1"]
        monkeypatch.setattr(sys, "argv", called)
        assert program.call("compare") == ["python", "src/compare.py"]
        assert program.own_call("src/train.py") == ["python", "src/train.py"]
        with program.repeatable():
            assert sys.argv is called

    @pytest.mark.parametrize("script", [CONSOLE, str(program.FILE)])
    def test_other_devices_get_the_subcommand(
        self, script: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        called = [script, "reproduce", "run=last"]
        monkeypatch.setattr(sys, "argv", called)
        with program.running("reproduce"):
            assert sys.argv == [script, "run=last"]
            assert program.call("compare") == ["tunebook", "compare"]
            assert program.own_call("") == ["tunebook", "reproduce"]
            with program.repeatable():
                assert sys.argv == called
            assert sys.argv == [script, "run=last"]
        assert sys.argv is called

    def test_a_worker_of_a_sweep_trains(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", [CONSOLE, "seed=1"])
        assert program.own_call("") == ["tunebook", "train"]

    def test_a_process_starts_from_anywhere(self, tmp_path: Path) -> None:
        command = [*program.process("train"), "optimizer=adadleta"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.endswith("Did you mean 'adadelta'?\n")


TYPED = {
    "tunebook tra": "train",
    "tunebook --v": "--version",
    "tunebook train optimizer=adad": "optimizer=adadelta",
    "tunebook bench model=ml": "model=mlp",
    "tunebook compare report=true experiment_": "experiment_name=",
}
COMPLETES = """
compopt() { :; }
eval "$(tunebook --completion)"
while read -r -a COMP_WORDS; do
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE="${COMP_WORDS[*]}"
    _tunebook tunebook
    echo "${COMPREPLY[*]}"
done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="completion is for bash")
def test_bash_completes_words(tmp_path: Path) -> None:
    script = tmp_path / "tunebook"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program.FILE}" "$@"\n')
    script.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", COMPLETES],
        input="".join(f"{line}\n" for line in TYPED),
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.stdout.splitlines() == list(TYPED.values()), done.stderr


def test_the_wheel_gets_every_package() -> None:
    """Only a list of packages can put conf/ into the package; so it has to be complete."""
    source = ROOT / "src"
    folders = {path.parent.relative_to(source) for path in source.rglob("__init__.py")}
    packages = [".".join(folder.parts) for folder in folders]
    assert PROJECT["tool"]["setuptools"]["packages"] == sorted([*packages, "tunebook.conf"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which the wheel is installed, without what it depends on."""
    try:
        setuptools = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        setuptools = "0"
    if int(setuptools.partition(".")[0]) < 77:
        pytest.skip("building a wheel without network needs setuptools>=77")
    project, folder = (tmp_path_factory.mktemp(name) for name in ("project", "site"))
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, project / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    wheel = [*pip, "wheel", *options, "--wheel-dir", str(project / "dist"), str(project)]
    subprocess.run(wheel, check=True)
    (built,) = (project / "dist").glob("*.whl")
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    subprocess.run([*pip, "install", *options, str(built)], check=True)
    shutil.rmtree(project)
    return folder


def run_installed(site: Path, folder: Path, *words: str, as_module: bool = False) -> Result:
    """Run the installed `tunebook` in a folder."""
    script = ["-m", "tunebook"] if as_module else [str(site / "bin" / "tunebook")]
    done = subprocess.run(
        [sys.executable, *script, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.suffix != ".pyc" and path.is_file()}


@pytest.mark.slow
def test_an_installed_wheel_does_all_in_the_working_directory(site: Path, tmp_path: Path) -> None:
    before = files(site)

    def run(*words: str, as_module: bool = False) -> str:
        result = run_installed(site, tmp_path, *words, as_module=as_module)
        assert result.code == 0, result.err
        return result.out

    said = run("train", *SMALL)
    (trained,) = runs_in(tmp_path)
    assert f"tunebook evaluate run={trained.info.run_id}\n" in said
    assert trained.data.tags["command"] == f"tunebook train {' '.join(SMALL)}"
    assert trained.data.tags["git.commit"] == "none"
    assert trained.data.tags["version.tunebook"] == PROJECT["project"]["version"]
    assert run("evaluate", "run=last").count("the same as recorded") == 2
    said = run("train", "-m", *SMALL, "optimizer=adam,sgd", "sweep.name=two", "sweep.workers=1")
    assert "findings       tunebook compare sweep=two\n" in said
    assert "optimizer=adam" in run("compare", "sweep=two", as_module=True)
    assert {run.data.tags["command"].partition("=")[0] for run in runs_in(tmp_path)} == {
        "tunebook train data",
        "tunebook train -m data",
    }
    written = {path.name for path in tmp_path.iterdir()}
    assert {name for name in written if "mlflow.db" not in name} == {"mlruns", "outputs"}
    assert files(site) == before


@pytest.mark.slow
def test_an_installed_wheel_writes_a_project_that_trains(site: Path, tmp_path: Path) -> None:
    assert run_installed(site, tmp_path, "init", NAME).code == 0
    result = run_installed(site, tmp_path / NAME / "src", "train", *FIRST)
    assert result.code == 0, result.err
    (run,) = runs_in(tmp_path / NAME)
    assert run.data.tags["project"] == NAME
    assert run.data.tags["version.tunebook"] == PROJECT["project"]["version"]
    assert {path.name for path in tmp_path.iterdir()} == {NAME}


@pytest.mark.slow
@pytest.mark.parametrize("as_module", [False, True], ids=["tunebook", "python -m tunebook"])
def test_an_installed_wheel_tells_what_it_can(site: Path, tmp_path: Path, as_module: bool) -> None:
    def run(*words: str) -> Result:
        return run_installed(site, tmp_path, *words, as_module=as_module)

    assert run("--help").out == dispatch.help_text() + "\n"
    assert run("--version").out == f"tunebook {PROJECT['project']['version']}\n"
    script = run_process("train.py", "--help").out.partition("\n")[2]
    shown = run("train", "--help").out.partition("\n")[2]
    for name in ("mlflow.db", "outputs"):  # the only settings that depend on the folder
        shown = shown.replace(f"{tmp_path}/{name}", f"{ROOT}/{name}")
    assert shown.replace("tunebook train", "python src/train.py").split() == script.split()
    assert run("trian").code == 2
    assert run("train", "optimizer=adadleta").err.endswith("Did you mean 'adadelta'?\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "as_module", "runs"),
    [([], False, 1), (["-m", "seed=1,2", "sweep.workers=1"], True, 3)],
    ids=["tunebook", "a sweep of python -m tunebook"],
)
def test_two_processes_train(
    site: Path, tmp_path: Path, words: list[str], as_module: bool, runs: int
) -> None:
    """Lightning and a sweep's workers start further processes of the same command."""
    settings = ["data=digits", "debug=quick", "trainer=ddp", "trainer.accelerator=cpu"]
    result = run_installed(
        site, tmp_path, "train", *words, *settings, "trainer.devices=2", as_module=as_module
    )
    assert result.code == 0, result.err
    assert [run.info.status for run in runs_in(tmp_path)] == ["FINISHED"] * runs


@pytest.mark.slow
def test_a_deleted_working_directory_is_one_line(site: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'rmdir "{gone}"; exec "{sys.executable}" "{site}/bin/tunebook" --version'
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the working directory does not exist any more\n"
