"""Define the project's folders, and check whether a folder is writable.

In a checkout, all of them are below its top, whatever the working directory. An installed wheel
holds conf/ itself, and data, runs and results are below the working directory.
"""

import contextlib
import sys
import tempfile
from pathlib import Path


def _working_directory() -> Path:
    """Return the working directory; end the process if it has been deleted, which nothing mends."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        print("error: the working directory does not exist any more", file=sys.stderr)
        sys.exit(2)


PACKAGE = Path(__file__).resolve().parents[1]
IS_WHEEL = (PACKAGE / "conf").is_dir()  # a checkout has conf/ at its top
ROOT = _working_directory() if IS_WHEEL else PACKAGE.parents[1]
CONF = PACKAGE / "conf" if IS_WHEEL else ROOT / "conf"


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
