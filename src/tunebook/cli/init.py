"""Write a small project of your own: config files, a network, a data set and a test.

Example: `tunebook init my_project`.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import uuid
from pathlib import Path
from typing import NoReturn

import jinja2

from tunebook.cli.entry import BAD_INPUT, fail
from tunebook.config.paths import CONF, why_unwritable
from tunebook.config.project import VARIABLE, why_no_package
from tunebook.config.validation import format_value
from tunebook.program import NAME, own_call, process
from tunebook.text_output import counted

TEMPLATES = Path(__file__).with_name("templates")
# Each file of a project, with its template. `package` stands for the project's name.
FILES = {
    "README.md": "README.md",
    "Makefile": "Makefile",
    "pyproject.toml": "pyproject.toml",
    ".gitignore": "gitignore",
    ".vscode/settings.json": "settings.json",
    ".vscode/extensions.json": "extensions.json",
    "conf/experiment/first.yaml": "first.yaml",
    "conf/model/small_cnn.yaml": "small_cnn.yaml",
    "conf/data/shapes.yaml": "shapes.yaml",
    "src/package/__init__.py": "package.py",
    "src/package/networks.py": "networks.py",
    "src/package/data.py": "data.py",
    "tests/conftest.py": "conftest.py",
    "tests/test_first.py": "test_first.py",
}


def main() -> None:
    """Write the project into a new folder, and print what to do next."""
    parser = argparse.ArgumentParser(
        prog=" ".join(own_call(sys.argv[0])),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="name of the project's folder and of its package")
    parser.error = _refuse  # type: ignore[method-assign]
    name = parser.parse_args().name
    folder = Path.cwd() / name
    if reason := why_no_package(name):
        _refuse(f"{format_value(name)}: {reason}. Did you mean '{valid_name(name)}'?")
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        _refuse(f"{format_value(name)}: already exists, as a file or a folder that is not empty")
    if reason := why_unwritable(folder):
        _refuse(f"{format_value(name)}: cannot be written: {reason}")
    try:
        count = write(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        lines = str(getattr(error, "stderr", "")).strip().splitlines()
        fail(f"{format_value(name)}: was not written: {lines[-1] if lines else error}", 1)
    print(f"{name}: {counted(count, 'file')} written")
    print(f"\nnext           cd {name}\n               {NAME} train experiment=first")
    print(f"               {NAME} train -m experiment=first model.width=8,16")
    print("               make test   (README.md tells more)")


def write(folder: Path) -> int:
    """Write the project of a folder's name into it, and return the number of files.

    The folder must be new or empty. It gets all files or none of them.
    """
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    unfinished.mkdir()
    try:
        for file, text in texts(folder.name).items():
            path = unfinished / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _describe_to_editor(unfinished)
        count = sum(path.is_file() for path in unfinished.rglob("*"))
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return count


def texts(name: str) -> dict[str, str]:
    """Return the text of each file of a project, by its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name[0] != ".")
    return {
        file.replace("/package/", f"/{name}/"): environment.get_template(
            f"{template}.jinja"
        ).render(package=name, groups=groups)
        for file, template in FILES.items()
    }


def valid_name(name: str) -> str:
    """Return the nearest name that a project can have."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    tried = (words, f"my_{words}", f"my_{words}_project") if words else ()
    return next((each for each in tried if not why_no_package(each)), "my_project")


def _describe_to_editor(folder: Path) -> None:
    """Write the schemas of the project's config files; another process has it as its project."""
    environment = {**os.environ, VARIABLE: str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        process("schema"), env=environment, cwd=folder, check=True, capture_output=True, text=True
    )


def _refuse(message: str) -> NoReturn:
    fail(message, BAD_INPUT)
