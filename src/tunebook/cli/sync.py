"""Deliver to MLflow what it has not received yet.

Usage: `python src/sync.py` (or `make sync`), once the tracking server can be reached again.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("sync", check="tunebook.tracking.uploader:check")
def main(cfg: "DictConfig") -> None:
    """Print what was delivered; the exit status is 1 if something could not be."""
    from pathlib import Path

    from tunebook.text_output import counted
    from tunebook.tracking.uploader import upload_pending

    left_over = upload_pending(Path(cfg.outputs), cfg.tracking.uri)
    print(
        f"{counted(left_over.delivered, 'run')} delivered, {len(left_over.problems)} not delivered"
    )
    for problem in left_over.problems:
        print(problem)
    if left_over.problems:
        raise SystemExit(1)
