"""Define where config files, data and results are, and check whether a folder is writable.

In a user's project, data, runs and results are in the project's folder, and its config files come
before Tunebook's. Without one, a checkout keeps everything below its top, whatever the working
directory. An installed wheel holds conf/ itself, and keeps the rest below the working directory.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

from tunebook.config.project import Project, ProjectError, find_project

PACKAGE = Path(__file__).resolve().parents[1]
IS_WHEEL = (PACKAGE / "conf").is_dir()  # a checkout has conf/ at its top
CONF = PACKAGE / "conf" if IS_WHEEL else PACKAGE.parents[1] / "conf"


def _working_directory() -> Path | None:
    """Return the working directory, or None if it has been deleted.

    An installed wheel needs one: the process ends, because nothing mends it.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        if not IS_WHEEL:
            return None
        print("error: the working directory does not exist any more", file=sys.stderr)
        sys.exit(2)


def _project(folder: Path | None) -> tuple[Project | None, str]:
    """Return the user's project, and why there is none where one can't be used."""
    try:
        return (None if folder is None else find_project(folder)), ""
    except ProjectError as error:
        return None, str(error)


_here = _working_directory()
# A process has one project. Each config is refused if there is a reason against it, so that
# `tunebook --help` still works, and Python gets an exception.
PROJECT, PROJECT_PROBLEM = _project(_here)
if PROJECT is not None:
    ROOT = PROJECT.folder
else:
    ROOT = _here if IS_WHEEL and _here is not None else PACKAGE.parents[1]
# The folders that config files are read from; the first that has a file counts.
CONFS = (CONF,) if PROJECT is None else (PROJECT.conf, CONF)


def config_file(group: str, option: str) -> Path:
    """Return the path of an option's file, which the project may have in place of Tunebook's."""
    paths = [folder / group / f"{option}.yaml" for folder in CONFS]
    return next((path for path in paths if path.is_file()), paths[-1])


def config_files(group: str) -> list[Path]:
    """Return the files of a group, by their names."""
    names = {path.stem for folder in CONFS for path in (folder / group).glob("*.yaml")}
    return [config_file(group, name) for name in sorted(names)]


def why_unwritable(folder: Path) -> str:
    """Return why nothing can be written to `folder`, or "" if it can be.

    For a folder that does not exist yet, the nearest existing parent is tried. No file is left.
    """
    path = folder.absolute()
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # fails for a name that is too long, or a loop of links
        while not path.exists() and path != path.parent:
            path = path.parent
        # An unnamed file: permissions alone do not reveal a read-only file system.
        with tempfile.TemporaryFile(dir=path):
            return ""
    except OSError as error:
        return f"{error.strerror} ({path})"
