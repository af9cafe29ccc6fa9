"""Rebuild a run's model and data from its MLflow run, its folder or a checkpoint alone.

None of the three is trusted.
"""

import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tunebook.config.added_groups import with_added_groups
from tunebook.config.compose import check_targets, with_choices
from tunebook.config.files import read_yaml
from tunebook.config.overrides import check_outside_values
from tunebook.config.run_config import plain
from tunebook.config.validation import InputError, SettingError, format_value
from tunebook.redaction import learn, redact
from tunebook.runs import requested_run
from tunebook.runs.assemble import RunComponents, build
from tunebook.runs.memory import check_weights
from tunebook.tracking.finished import FinishedRun
from tunebook.training.checkpoint import Content, load_weights, read

TIMEOUT_S = 30


@dataclass
class Restored:
    """Hold a run's objects, with its weights loaded.

    weights: "best" or "last", or "" if that is not known.
    finished: its MLflow run, or None if a file was requested.
    """

    parts: RunComponents
    name: str
    weights: str
    finished: FinishedRun | None


def restore(cfg: DictConfig, folder: Path) -> Restored:
    """Return the run that `cfg.run` names, with its weights loaded.

    folder: the folder for downloaded files.
    Raises InputError if the files can't be fetched or are invalid.
    """
    name, found = str(cfg.run), requested_run.find(cfg)
    finished = None
    if isinstance(found, str):
        file = fetch(found, folder / "fetched.ckpt", "run")
    elif isinstance(found, Path):
        file = found if found.is_file() else found / "checkpoints" / f"{_weights(cfg, 'last')}.ckpt"
    else:
        finished = FinishedRun(cfg.tracking.uri, found.run_id)
        file = finished.download(
            f"checkpoints/{_weights(cfg, finished.tags.get('tested_weights', 'last'))}.ckpt", folder
        )
    content = read(file)
    settings = _settings(cfg, content, name)
    with torch.device("meta"):
        check_weights(build(settings))
    parts = build(settings)
    load_weights(parts.task, content, name)
    return Restored(parts, name, file.stem if file.stem in ("best", "last") else "", finished)


def _weights(cfg: DictConfig, tested: str) -> str:
    return tested if cfg.weights == "tested" else str(cfg.weights)


def fetch(address: str, to: Path, key: str) -> Path:
    """Download the file at an address to the path `to`, and return that path.

    key: the setting that named it, for the InputError that is raised if it can't be fetched.
    """
    learn(address)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer, to.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise InputError(
            f"{key}={format_value(redact(address))}: could not be fetched: "
            f"{getattr(error, 'reason', error)}"
        ) from None
    return to


def _settings(cfg: DictConfig, content: Content, name: str) -> dict[str, object]:
    """Return the run's settings, with the locations and the accelerator of this call."""
    where = f"run={format_value(name)}"
    try:
        recorded = with_added_groups(read_yaml(str(content["tunebook"]["config"]), where))
        precision = str(content["tunebook"]["environment"]["precision"])
        here = with_choices({"tracking": "off"})
        recorded |= {
            "tracking": OmegaConf.to_container(here.tracking),
            "outputs": str(here.outputs),
            "resume": None,
            "sweep": None,
        }
        recorded["data"]["root"] = (
            cfg.get("data_root") or with_choices({"data": "digits"}).data.root
        )
        recorded["data"]["num_workers"] = 0  # the run's machine may have had more processors
        recorded["trainer"] |= {"accelerator": cfg.accelerator, "precision": precision}
        check_outside_values(recorded, where)
        config = OmegaConf.create(recorded)
        check_targets(config)
        return plain(config)
    except (KeyError, TypeError, ValueError, RecursionError, OmegaConfBaseException) as error:
        if isinstance(error, SettingError | InputError):
            raise
        raise InputError(
            f"{where}: holds no config that can be used: {' '.join(str(error).split())}"
        ) from None
