"""Compare finished runs: which settings matter, what is seed noise, and what to run next.

Example: `python src/compare.py sweep=<name>`.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("compare", check="tunebook.report.requested_runs:check")
def main(cfg: "DictConfig") -> None:
    """Print the leaderboard and the findings, and write the report."""
    from pathlib import Path

    from tunebook.report.compare import compare
    from tunebook.report.requested_runs import RequestedRuns

    reports = Path(str(cfg.outputs)) / "reports" if cfg.report else None
    compare(RequestedRuns.of(cfg), None if cfg.paired is None else str(cfg.paired), reports)
