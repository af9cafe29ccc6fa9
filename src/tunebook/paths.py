"""Define the project's folders, and check whether a folder is writable."""

import contextlib
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


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
