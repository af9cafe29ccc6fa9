"""Tests a finished run again, from its MLflow run alone."""

import logging
import tempfile
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tunebook.checks import SettingError, conform
from tunebook.commandline.names import check_targets
from tunebook.experiment.assembly import build, plain
from tunebook.experiment.run import test
from tunebook.recovery.checkpoint import load_weights, read
from tunebook.tracking.finished import FinishedRun
from tunebook.tracking.store import RunNotFound
from tunebook.training import device_kind

log = logging.getLogger(__name__)


def check(cfg: DictConfig, choices: object) -> None:
    """SettingError where evaluate's own settings can't be used."""
    if OmegaConf.is_missing(cfg, "run"):
        raise SettingError("run", "", "is required: the id of an MLflow run, as train.py's summary prints it")
    if "uri" not in cfg.tracking:
        raise SettingError("tracking", "off", "a run is read from MLflow; allowed: mlflow")
    conform("run", str(cfg.run), str)
    conform("weights", cfg.weights, Literal["tested", "best", "last"])
    conform("accelerator", cfg.accelerator, Literal["auto", "cpu", "gpu"])
    device_kind(cfg.accelerator)


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """test/loss and test/acc of the weights that a run tested (or of its best or last epoch), printed beside the run's own."""
    finished = FinishedRun(cfg.tracking.uri, str(cfg.run))
    tested = finished.tags.get("tested_weights", "last")
    weights = tested if cfg.weights == "tested" else str(cfg.weights)
    with tempfile.TemporaryDirectory() as folder:
        settings = plain(recorded_config(finished.download("config/config.yaml", Path(folder))))
        settings["trainer"] |= {"accelerator": cfg.accelerator, "precision": finished.tags.get("precision", "32-true")}
        parts = build(settings)
        checkpoint = finished.download(f"checkpoints/{weights}.ckpt", Path(folder))
        load_weights(parts.classifier, read(checkpoint), f"checkpoints/{weights}.ckpt")
        figures = test(parts, Path(folder))
    log.info("run %s  %s, %s epoch's weights", finished.run.info.run_name, finished.run_id, weights)
    for name, value in figures.items():
        recorded = finished.metrics.get(name) if weights == tested else None
        said = "" if recorded is None else "   the same as recorded" if recorded == value else f"   recorded: {recorded}"
        log.info("%-10s %s%s", name, value, said)
    return figures


def recorded_config(path: Path) -> DictConfig:
    """A run's config. A file from outside: it may name no code but what a config may."""
    try:
        cfg = OmegaConf.load(path)
    except (OmegaConfBaseException, ValueError, OSError) as error:
        raise RunNotFound(f"{path.name}: not a config: {error}") from None
    if not isinstance(cfg, DictConfig):
        raise RunNotFound(f"{path.name}: not a config")
    check_targets(cfg)
    return cfg
