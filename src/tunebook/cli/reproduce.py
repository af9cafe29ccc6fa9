"""Run a finished run's stored config again and compare every metric.

Example: `python src/reproduce.py run=<run id>`.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("reproduce", check="tunebook.runs.requested_run:check_reproduction")
def main(cfg: "DictConfig") -> None:
    """Print whether the metrics are the same; the exit status is 1 if one differs."""
    from tunebook.runs.reproduce import reproduce

    if not reproduce(cfg):
        raise SystemExit(1)
