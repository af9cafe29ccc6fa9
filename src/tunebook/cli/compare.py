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
    from tunebook.report.requested_runs import RequestedRuns, pair_of

    reports = Path(str(cfg.outputs)) / "reports" if cfg.report else None
    if (pair := pair_of(cfg)) is not None:
        from tunebook.report.disagreement import disagreement

        print(disagreement(str(cfg.tracking.uri), pair, reports))
        return
    compare(RequestedRuns.of(cfg), None if cfg.paired is None else str(cfg.paired), reports)
