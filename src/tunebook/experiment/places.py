"""Refuse the places that another person's run folder names.

Nothing is sent to such a place or written into it unless the user names it as well.
"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tunebook.checks import InputError, format_value
from tunebook.runfolder import RUNS, RunFolder

ADDRESSES = ("http://", "https://")  # beginnings of a checkpoint that is to be downloaded
# Settings of a run that another machine or call does not take over.
LOCATION_KEYS = ("data.root", "tracking", "outputs", "hydra", "resume")
PLACES = ("data.root", "tracking.uri", "outputs", "hydra")
OPTIONS = ("off", "mlflow")  # of the config group `tracking`


def require_own_places(folder: RunFolder, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise InputError where a folder from outside `outputs` names places of its own.

    Its own are those that neither this call's overrides nor conf/ name. The user's password or
    token would be sent to its tracking store, and files would be written to its other places.
    """
    link = Path(str(cfg.outputs)) / RUNS / folder.key
    if link.is_symlink() and link.resolve() == folder.path.resolve():
        return  # a process of this user has run in it before
    given = {_key(override) for override in overrides}
    foreign = [
        override
        for override in folder.overrides
        if _key(override) not in given and _names_a_place(override, cfg)
    ]
    if foreign:
        said = "; ".join(format_value(override) for override in foreign[:3])
        message = (
            f"is no run of {cfg.outputs}, and its run.json names places ({said}): "
            "give each of them as you want it"
        )
        raise InputError(f"resume={format_value(cfg.resume)}: {message}")


def _key(override: str) -> str:
    return override.partition("=")[0].strip().lstrip("+~")


def _names_a_place(override: str, cfg: DictConfig) -> bool:
    key, value = _key(override), override.partition("=")[2].strip()
    if key == "tracking":
        return value not in OPTIONS
    if not any(
        key == place or key.startswith((f"{place}.", f"{place}/", f"{place}@")) for place in PLACES
    ):
        return False
    return str(OmegaConf.select(cfg, key, default=None)) != value.strip("'\"")
