"""Write JSON schemas of the files in conf/, so that an editor completes and checks them.

Usage: `python src/schema.py`, after a change of conf/ or of a constructor.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("schema", check="tunebook.schema:check")
def main(cfg: "DictConfig") -> None:
    """Write the files; with check=true, only list those that are out of date (exit status 1)."""
    from tunebook.schema import write

    if write(only_check=cfg.check) and cfg.check:
        raise SystemExit(1)
