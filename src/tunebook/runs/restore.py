"""Rebuild an earlier run's network and data, which takes its checkpoint and the config in it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tunebook.config.added_settings import with_added_settings
from tunebook.config.compose import check_targets, with_choices
from tunebook.config.files import read_yaml
from tunebook.config.overrides import check_outside_values
from tunebook.config.run_config import plain
from tunebook.config.validation import InputError, SettingError, format_value
from tunebook.data.contents import Contents
from tunebook.runs.assemble import RunComponents, build
from tunebook.runs.data_place import has_own_images, place_of_images
from tunebook.runs.memory import check_weights
from tunebook.runs.stored_run import StoredRun
from tunebook.training.checkpoint import Content, load_weights, read


@dataclass
class Restored:
    """Hold a run's objects, with its weights loaded.

    weights: "best" or "last", or "" if that is not known.
    """

    parts: RunComponents
    stored: StoredRun
    weights: str


def restore(cfg: DictConfig, folder: Path) -> Restored:
    """Return the run that `cfg.run` names, with its weights loaded.

    folder: the folder for downloaded files.
    Raises InputError if the files can't be fetched or are invalid.
    """
    stored = StoredRun.requested(cfg)
    file = stored.weights(str(cfg.weights), folder)
    content = read(file)
    settings, contents = _settings(cfg, content, stored.name), _contents(content, stored.name)
    with torch.device("meta"):
        check_weights(build(settings, contents))
    parts = build(settings, contents)
    load_weights(parts.task, content, stored.name)
    return Restored(parts, stored, file.stem if file.stem in ("best", "last") else "")


def _place(data: object, cfg: DictConfig) -> dict[str, object]:
    """Return where the images and their cache are; only a command with `data_root` needs them."""
    if not isinstance(data, dict):
        raise TypeError("its data are no settings")
    cache = {"cache_root": with_choices({"data": "image_folder"}).data.cache_root}
    own = cache if has_own_images(data) else {}
    if "data_root" not in cfg:
        return {("table" if "table" in data else "root"): "not used", **own}
    key, value = place_of_images(data, cfg.data_root)
    return {key: value, **own}


def _contents(content: Content, name: str) -> Contents | None:
    """Return what the run's data set holds, or None for a run of an earlier version."""
    stated = content["tunebook"].get("contents")
    try:
        return None if stated is None else Contents.of_plain(stated)
    except (ValueError, TypeError) as error:
        raise InputError(f"run={format_value(name)}: {error}") from None


def _settings(cfg: DictConfig, content: Content, name: str) -> dict[str, object]:
    """Return the run's settings, with the locations and the accelerator of this call."""
    where = f"run={format_value(name)}"
    try:
        recorded = with_added_settings(read_yaml(str(content["tunebook"]["config"]), where))
        precision = str(content["tunebook"]["environment"]["precision"])
        here = with_choices({"tracking": "off"})
        recorded |= {
            "tracking": OmegaConf.to_container(here.tracking),
            "outputs": str(here.outputs),
            "resume": None,
            "sweep": None,
        }
        recorded["data"] |= _place(recorded["data"], cfg)
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
