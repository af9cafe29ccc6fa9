"""Serve MLflow's web pages on this machine and open them on the newest view.

Usage: `python src/ui.py`, or `make ui`.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("ui", check="tunebook.tracking.ui:check")
def main(cfg: "DictConfig") -> None:
    """Serve until Ctrl-C."""
    from tunebook.tracking.ui import serve

    serve(cfg.tracking.uri, cfg.port, cfg.browser)
