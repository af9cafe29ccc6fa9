"""Find the files that a page of the documentation tells its reader to write."""

import re
from pathlib import Path

BLOCK = re.compile(r"^`((?:src|conf)/[\w/.]+)`\n\n```(?:python|yaml)\n(.*?)^```$", re.M | re.S)


def files_shown(page: str) -> dict[str, str]:
    """Return the text of each file that a page shows, by the path on the line above it."""
    return dict(BLOCK.findall(page))


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page shows into a folder."""
    for file, text in files_shown(page).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
