"""Test a finished run's weights again, with nothing but its MLflow run.

Example: `python src/evaluate.py run=<run id>`.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("evaluate", check="tunebook.runs.requested_run:check_evaluation")
def main(cfg: "DictConfig") -> None:
    """Test the run's weights and print the metrics."""
    from tunebook.runs.evaluate import evaluate

    evaluate(cfg)
