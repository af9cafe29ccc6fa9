"""Write projects of a user's own, and run commands in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Result
from tunebook import program
from tunebook.config.project import FILE

NAME = "my_project"
FIRST = (
    "experiment=first", "trainer=cpu", "trainer.max_epochs=2", "data.source.train_size=600",
    "data.source.test_size=200", "tracking.system_metrics=false",
)  # fmt: skip


def first(*more: str) -> list[str]:
    """Return the overrides of the first experiment, shrunk, of which `more` may replace some."""
    keys = [word.partition("=")[0] for word in more]
    return [*(word for word in FIRST if word.partition("=")[0] not in keys), *more]


TABLE = "[tool.tunebook]\n"
WATCH = '\nfrom pathlib import Path\nPath(__file__).with_name("imported").touch()\n'


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, in which the package is importable."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}


def tunebook(folder: Path, *words: str, **more: str) -> Result:
    """Run the command `tunebook` in a folder."""
    command = [sys.executable, str(program.FILE), *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=280
    )
    return Result(done.returncode, done.stdout, done.stderr)


def succeed(folder: Path, *words: str) -> str:
    result = tunebook(folder, *words)
    assert result.code == 0, result.out + result.err
    return result.out


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project as `tunebook init` writes it."""
    folder = tmp_path_factory.mktemp("written")
    said = succeed(folder, "init", NAME)
    count = sum(path.is_file() for path in (folder / NAME).rglob("*"))
    assert said.startswith(f"{NAME}: {count} files written\n")
    assert f"cd {NAME}\n               tunebook train experiment=first\n" in said
    assert [path.name for path in folder.iterdir()] == [NAME]
    return folder / NAME


@pytest.fixture
def project(written: Path, tmp_path: Path) -> Path:
    """Return a copy of the project that a test may change."""
    return Path(shutil.copytree(written, tmp_path / NAME))


@pytest.fixture
def watched(project: Path) -> Path:
    """Return a project whose package leaves the file `imported` when it is imported."""
    package = project / "src" / NAME / "__init__.py"
    package.write_text(package.read_text() + WATCH)
    return project


def was_imported(project: Path) -> bool:
    """Return whether the package was imported, and forget it."""
    mark = project / "src" / NAME / "imported"
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


def make(folder: Path, table: str, *files: str) -> Path:
    (folder / "conf").mkdir(parents=True)
    (folder / FILE).write_text(table)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder
