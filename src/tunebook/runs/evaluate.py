"""Test a finished run again, from its MLflow run or a checkpoint alone."""

import logging
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from tunebook.runs import restore
from tunebook.runs.execute import test

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Return test/loss and test/acc of a run's tested, best or last weights.

    They are logged together with the metrics that the run recorded.
    """
    with tempfile.TemporaryDirectory() as folder:
        restored = restore.restore(cfg, Path(folder))
        figures = test(restored.parts, Path(folder))
    finished = restored.finished
    name = f"{finished.run.info.run_name}  {finished.run_id}" if finished else restored.name
    log.info("run %s%s", name, f", {restored.weights} epoch's weights" if restored.weights else "")
    as_tested = finished is not None and restored.weights == finished.tags.get(
        "tested_weights", "last"
    )
    for figure, value in figures.items():
        recorded = finished.metrics.get(figure) if finished and as_tested else None
        comparison = (
            ""
            if recorded is None
            else "   the same as recorded"
            if recorded == value
            else f"   recorded: {recorded}"
        )
        log.info("%-10s %s%s", figure, value, comparison)
    return figures
