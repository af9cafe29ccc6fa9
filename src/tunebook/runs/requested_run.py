"""Check the settings of evaluate, predict and reproduce before torch is imported.

The most important check is that the requested run exists.
"""

from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from tunebook.config.validation import SettingError, validate_value
from tunebook.runs.images import check_output, image_files
from tunebook.runs.stored_run import NAMES, StoredRun

TYPES: dict[str, Any] = {
    "weights": Literal["tested", "best", "last"],
    "accelerator": Literal["auto", "cpu", "gpu"],
    "invert": bool,
    "data_root": str | None,
}


def check_evaluation(cfg: DictConfig) -> None:
    """Raise SettingError or InputError if evaluate's settings can't be used.

    The run that they name must exist.
    """
    _check_settings(cfg)
    StoredRun.requested(cfg).require_no_sweep()
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
    StoredRun.requested(cfg).require_no_sweep()
    _check_accelerator(cfg)


def check_reproduction(cfg: DictConfig) -> None:
    """Raise SettingError or InputError if reproduce's settings can't be used.

    The run that they name must exist and be finished.
    """
    _check_run_settings(cfg)
    validate_value("data_root", cfg.data_root, TYPES["data_root"])
    StoredRun.requested(cfg).require_reproducible()


def _check_run_settings(cfg: DictConfig) -> None:
    if OmegaConf.is_missing(cfg, "run") or not str(cfg.run).strip():
        raise SettingError("run", "", f"is required; allowed: {NAMES}")
    if "uri" not in cfg.tracking:
        raise SettingError("tracking", "off", "a run is read from MLflow; allowed: mlflow")


def _check_settings(cfg: DictConfig) -> None:
    _check_run_settings(cfg)
    for key in ("weights", "accelerator"):
        validate_value(key, cfg[key], TYPES[key])


def _check_accelerator(cfg: DictConfig) -> None:
    """Raise SettingError if a GPU is requested and there is none.

    torch is imported only if a GPU is requested.
    """
    if cfg.accelerator == "gpu":
        from tunebook.training.trainer import device_kind

        device_kind("gpu")
