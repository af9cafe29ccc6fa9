"""Check the settings of evaluate, predict and reproduce before torch is imported.

The most important check is that the requested run exists.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from tunebook.config.validation import InputError, SettingError, format_value, validate_value
from tunebook.runs.images import check_output, image_files
from tunebook.runs.places import ADDRESSES
from tunebook.tracking.run_lookup import LAST, find_run
from tunebook.tracking.run_reader import FoundRun

PRUNED = "sweep.pruned_at_epoch"  # tag of a trial that its sweep pruned
TYPES: dict[str, Any] = {
    "weights": Literal["tested", "best", "last"],
    "accelerator": Literal["auto", "cpu", "gpu"],
    "invert": bool,
    "data_root": str | None,
}
NAMES_OF_RUNS = (
    "last, an MLflow run's id, its first digits or its name, a run's folder, "
    "a checkpoint's path or http(s) address"
)


def check_evaluation(cfg: DictConfig) -> None:
    """Raise SettingError or InputError if evaluate's settings can't be used.

    The run that they name must exist.
    """
    _check_settings(cfg)
    _require_trained(cfg)
    _check_accelerator(cfg)


def check_prediction(cfg: DictConfig) -> None:
    """Raise SettingError or InputError if predict's settings can't be used.

    The run and the images that they name must exist.
    """
    _check_settings(cfg)
    if OmegaConf.is_missing(cfg, "images"):
        raise SettingError("images", "", "is required: an image file, or a folder of them")
    validate_value("invert", cfg.invert, TYPES["invert"])
    images = image_files(str(cfg.images))
    if cfg.output is not None:
        check_output(str(cfg.output), images)
    _require_trained(cfg)
    _check_accelerator(cfg)


def check_reproduction(cfg: DictConfig) -> None:
    """Raise SettingError or InputError if reproduce's settings can't be used.

    The run that they name must exist and be finished.
    """
    _check_run_settings(cfg)
    validate_value("data_root", cfg.data_root, TYPES["data_root"])
    found = find_run(str(cfg.tracking.uri), str(cfg.run))
    require_finished(found.run_id, found.status, found.tags)


def find(cfg: DictConfig) -> str | Path | FoundRun:
    """Return what `cfg.run` names: a checkpoint's address or file, a run's folder or an MLflow run.

    Raises RunNotFound, AmbiguousRun, or InputError if the tracking store can't be read.
    """
    name = str(cfg.run)
    if name.startswith(ADDRESSES):
        return name
    path = Path(name)
    with contextlib.suppress(OSError):  # the text may be too long for a file's name
        if name != LAST and (path.is_file() or (path / "checkpoints").is_dir()):
            return path
    return find_run(str(cfg.tracking.uri), name)


def require_finished(run_id: str, status: str, tags: Mapping[str, str]) -> None:
    """Raise InputError if a run can't be reproduced.

    A run can be reproduced only if it is finished, and if its config was the same throughout.
    """
    where = f"run={run_id}"
    if tags.get("sweep.kind") == "sweep":
        raise InputError(f"{where}: is a sweep, not a run: each of its trials can be reproduced")
    if status != "FINISHED":
        raise InputError(
            f"{where}: is {status}, not FINISHED: there is nothing whole to compare with"
        )
    if changes := tags.get("resumed.changes"):
        raise InputError(
            f"{where}: its settings were changed on the way ({format_value(changes)}): "
            "no one config makes it"
        )
    if not tags.get(PRUNED, "0").isdecimal():
        raise InputError(f"{where}: its tag {PRUNED}={format_value(tags[PRUNED])} is no epoch")


def _check_run_settings(cfg: DictConfig) -> None:
    if OmegaConf.is_missing(cfg, "run") or not str(cfg.run).strip():
        raise SettingError("run", "", f"is required; allowed: {NAMES_OF_RUNS}")
    if "uri" not in cfg.tracking:
        raise SettingError("tracking", "off", "a run is read from MLflow; allowed: mlflow")


def _check_settings(cfg: DictConfig) -> None:
    _check_run_settings(cfg)
    for key in ("weights", "accelerator"):
        validate_value(key, cfg[key], TYPES[key])


def _require_trained(cfg: DictConfig) -> None:
    found = find(cfg)
    if isinstance(found, FoundRun) and found.is_sweep:
        raise InputError(f"run={found.run_id}: is a sweep, not a run: give one of its trials")


def _check_accelerator(cfg: DictConfig) -> None:
    """Raise SettingError if a GPU is requested and there is none.

    torch is imported only if a GPU is requested.
    """
    if cfg.accelerator == "gpu":
        from tunebook.training.trainer import device_kind

        device_kind("gpu")
