"""Compare finished runs: which settings matter, what is seed noise, and what to run next.

Example: `python src/compare.py sweep=<name>`.
"""

from typing import TYPE_CHECKING

from tunebook.commandline import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("compare", check="tunebook.report.requested_runs:check")
def main(cfg: "DictConfig") -> None:
    """Print the leaderboard and the findings, and write the report."""
    from pathlib import Path

    from tunebook.report.compare import compare

    reports = Path(str(cfg.outputs)) / "reports" if cfg.report else None
    sweep, runs, experiment, metric, paired = (
        None if value is None else str(value)
        for value in (cfg.sweep_name, cfg.runs, cfg.experiment_name, cfg.metric, cfg.paired)
    )
    compare(str(cfg.tracking.uri), sweep, runs, experiment, metric, paired, reports)
