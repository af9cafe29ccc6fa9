"""Find out how this process was called, and how the user calls the program's other commands.

There are two ways: `tunebook train ...`, and `python src/train.py ...` in a checkout. A message
that names a command names it in the way in which the user called this process.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tunebook.config.paths import IS_WHEEL, PACKAGE, PROJECT

NAME = "tunebook"
FILE = PACKAGE / "__main__.py"

_subcommand = (
    "train"  # of this process; the workers of a sweep keep this value, as all of them train
)


def _is_dispatcher() -> bool:
    """Return whether this process's script is one that runs every command."""
    script = Path(sys.argv[0])
    return script.name == NAME or script.resolve() == FILE


def has_scripts() -> bool:
    """Return whether the user calls the commands as the scripts in src/."""
    return not (IS_WHEEL or PROJECT is not None or _is_dispatcher())


def call(command: str) -> list[str]:
    """Return the beginning of the command line with which the user calls `command`."""
    return ["python", f"src/{command}.py"] if has_scripts() else [NAME, command]


def own_call(script: str) -> list[str]:
    """Return the command line with which the user called this process, without its arguments.

    script: the script's name, used if this process runs a script of its own.
    """
    return ["python", script] if has_scripts() else [NAME, _subcommand]


def process(command: str) -> list[str]:
    """Return the beginning of a command line that runs `command`, however this process started."""
    return [sys.executable, str(FILE), command]


@contextlib.contextmanager
def running(subcommand: str) -> Iterator[None]:
    """Keep the subcommand apart from sys.argv within the block, so that the rest are overrides."""
    global _subcommand
    before, called = _subcommand, sys.argv
    _subcommand, sys.argv = subcommand, [called[0], *called[2:]]
    try:
        yield
    finally:
        _subcommand, sys.argv = before, called


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Let sys.argv within the block be what starts another process like this one.

    Lightning starts the processes of other devices with it.
    """
    called = sys.argv
    if _is_dispatcher():
        sys.argv = [called[0], _subcommand, *called[1:]]
    try:
        yield
    finally:
        sys.argv = called
