"""Test a finished run again, from its MLflow run or a checkpoint alone."""

import logging
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from tunebook.runs import restore
from tunebook.runs.details import details_of_test
from tunebook.runs.execute import test
from tunebook.tags import TESTED_WEIGHTS

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Return the test metrics of a run's tested, best or last weights.

    They are logged together with the metrics that the run recorded.
    """
    with tempfile.TemporaryDirectory() as folder:
        restored = restore.restore(cfg, Path(folder))
        figures = test(restored.parts, Path(folder))
        details = details_of_test(restored.parts)
    stored = restored.stored
    is_from_mlflow = stored.folder is None and not stored.checkpoint
    name = f"{stored.listed.name}  {stored.run_id}" if is_from_mlflow else stored.name
    log.info("run %s%s", name, f", {restored.weights} epoch's weights" if restored.weights else "")
    as_tested = is_from_mlflow and restored.weights == stored.tags.get(TESTED_WEIGHTS, "last")
    known = stored.metrics if as_tested else {}
    for figure, value in figures.items():
        recorded = known.get(figure)
        comparison = (
            ""
            if recorded is None
            else "   the same as recorded"
            if recorded == value
            else f"   recorded: {recorded}"
        )
        log.info("%-10s %s%s", figure, value, comparison)
    for line in details.summary():
        log.info("%s", line)
    return figures
