"""Find the user's own project, whose config files and classes come before Tunebook's.

A project is a folder with a pyproject.toml that has a table [tool.tunebook]. It is the folder of
the process's working directory, or the nearest one above it, or the one that the environment
variable TUNEBOOK_PROJECT names. No config, override or recorded run can name a project.
"""

import functools
import hashlib
import importlib.util
import keyword
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.untrusted import read_regular

# Names the project's folder; "" stands for none, whatever the working directory.
VARIABLE = "TUNEBOOK_PROJECT"
FILE, TABLE = "pyproject.toml", "[tool.tunebook]"
KEYS = ("conf", "package")
DIGEST_LENGTH = 16  # hexadecimal digits


class ProjectError(ValueError):
    """Report, in one line for the user, a project that can't be used."""


@dataclass(frozen=True)
class Project:
    """Hold a user's project.

    folder: contains its pyproject.toml, and data and results. conf: the folder of its config files.
    package: the name of its package, whose classes its configs may name; "" for none. code: the
    folder of that package.
    """

    folder: Path
    conf: Path
    package: str = ""
    code: Path | None = None

    @property
    def name(self) -> str:
        """Return the name of the package, or of the folder if there is none."""
        return self.package or self.folder.name

    def owns(self, name: str) -> bool:
        """Return whether a dotted name lies in the project's package."""
        return bool(self.package) and f"{name}.".startswith(f"{self.package}.")

    def make_importable(self) -> None:
        """Import the project's package, so that its modules can be imported by their names.

        sys.path stays as it is: nothing else in the project's folder becomes importable, and
        nothing in it can take the place of a library. Raises whatever the package raises.
        """
        if self.code is None or self.package in sys.modules:
            return
        spec = importlib.util.spec_from_file_location(
            self.package, self.code / "__init__.py", submodule_search_locations=[str(self.code)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[self.package] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[self.package])
        except BaseException:
            sys.modules.pop(self.package, None)
            raise

    @functools.cached_property
    def modules(self) -> list[str]:
        """Return the dotted names of the package's modules; nothing is imported."""
        if self.code is None:
            return []
        files = sorted(self.code.rglob("*.py"))
        parts = [file.relative_to(self.code.parent).with_suffix("").parts for file in files]
        return [".".join(each[:-1] if each[-1] == "__init__" else each) for each in parts]

    @functools.cached_property
    def code_digest(self) -> str:
        """Return the beginning of a SHA-256 of the package's Python files and their names."""
        digest = hashlib.sha256()
        for file in sorted(self.code.rglob("*.py")) if self.code else ():
            name = file.relative_to(self.folder).as_posix().encode()
            content = file.read_bytes()
            digest.update(b"%d %b %d %b" % (len(name), name, len(content), content))
        return digest.hexdigest()[:DIGEST_LENGTH]


def find_project(start: Path) -> Project | None:
    """Return the project of a working directory, or the one that TUNEBOOK_PROJECT names.

    Returns None if there is none. Raises ProjectError if it can't be used.
    """
    named = os.environ.get(VARIABLE)
    if named == "":
        return None
    if named is not None:
        folder = Path(named).absolute()
        if (table := _table(folder / FILE)) is None:
            raise ProjectError(f"{VARIABLE}={named}: there is no {FILE} with a table {TABLE}")
        return _project(folder, table)
    for folder in (start, *start.parents):
        if (table := _table(folder / FILE)) is not None:
            _require_own(folder / FILE)
            return _project(folder, table)
    return None


def why_no_package(name: str, code: Path | None = None) -> str:
    """Return why a project's package can't have this name, or "" if it can.

    code: the folder of the package, which may itself be installed.
    """
    if not is_package_name(name):
        return "is not a valid package name; allowed: an ASCII letter, then letters, digits and _"
    if name == "tunebook" or name in sys.stdlib_module_names:
        return "is the name of a package that Python or Tunebook has already"
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that has none, such as __main__
        spec = None
    if spec is None or spec.origin is None:  # a folder without __init__.py is no package yet
        return ""
    if code is not None and Path(spec.origin).resolve() == (code / "__init__.py").resolve():
        return ""
    return f"is the name of an installed package ({spec.origin})"


def is_package_name(name: str) -> bool:
    """Return whether a name can be that of a project's package."""
    plain = name.isascii() and name.isidentifier() and not name.startswith("_")
    return plain and not keyword.iskeyword(name)


def _table(file: Path) -> dict[str, Any] | None:
    """Return the table [tool.tunebook] of a pyproject.toml, or None if there is none."""
    try:
        data = read_regular(file.resolve())
    except (OSError, RuntimeError):  # no file, or none that may be read
        return None
    if b"tunebook" not in data:
        return None
    try:
        content = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProjectError(f"{file}: is not valid TOML: {error}") from None
    tools = content.get("tool")
    table = tools.get("tunebook") if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ProjectError(f"{file}: tool.tunebook must be a table: {TABLE}")
    return table


def _require_own(file: Path) -> None:
    """Raise ProjectError if a project belongs to another user.

    In a folder such as /tmp, everybody could put a project above the user's working directory.
    """
    owner = file.stat().st_uid
    if owner not in (os.geteuid(), 0):
        raise ProjectError(
            f"{file}: belongs to another user, whose code would run; "
            f"{VARIABLE}={file.parent} uses it anyway, {VARIABLE}= uses none"
        )


def _project(folder: Path, table: dict[str, Any]) -> Project:
    where = folder / FILE
    for key, value in table.items():
        if key not in KEYS:
            from tunebook.config.validation import suggest

            raise ProjectError(
                f"{where}: tool.tunebook.{key}: no such key; allowed: {', '.join(KEYS)}."
                f"{suggest(key, KEYS)}"
            )
        if not isinstance(value, str):
            raise ProjectError(f"{where}: tool.tunebook.{key}: must be a text")
    name = table.get("conf", "conf")
    conf = folder / name
    if not name or not conf.is_dir() or not conf.resolve().is_relative_to(folder.resolve()):
        raise ProjectError(f'{where}: tool.tunebook.conf="{name}": no such folder in {folder}')
    if "package" not in table:
        return Project(folder, conf)
    return Project(folder, conf, table["package"], _code(folder, table["package"], where))


def _code(folder: Path, package: str, where: Path) -> Path:
    """Return the folder of a project's package, below `src/` or at the top."""
    setting = f'{where}: tool.tunebook.package="{package}"'
    if not is_package_name(package):
        raise ProjectError(f"{setting}: {why_no_package(package)}")
    places = [folder / "src" / package, folder / package]
    code = next((place for place in places if (place / "__init__.py").is_file()), None)
    if reason := why_no_package(package, code):
        raise ProjectError(f"{setting}: {reason}")
    if code is None:
        raise ProjectError(
            f"{setting}: there is neither src/{package}/__init__.py nor {package}/__init__.py"
        )
    return code
