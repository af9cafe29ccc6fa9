"""Where things are, whatever the working directory, and whether they can be written."""

import contextlib
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


def why_unwritable(folder: Path) -> str:
    """Why nothing can be written to `folder`, or to what it would be made in; "" where it can. Leaves nothing behind."""
    path = folder.absolute()
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # a name that is too long, or a loop of links
        while not path.exists() and path != path.parent:
            path = path.parent
        with tempfile.TemporaryFile(
            dir=path
        ):  # a file without a name: permissions alone don't tell of a read-only disk
            return ""
    except OSError as error:
        return f"{error.strerror} ({path})"
