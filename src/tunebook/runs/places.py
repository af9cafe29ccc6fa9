"""Refuse the locations that another person's run folder names.

Nothing is sent to such a location or written into it unless the user names it as well.
"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tunebook.config.roles import Role, key_of, role_of
from tunebook.config.validation import InputError, format_value
from tunebook.run_folder import RUNS, RunFolder

# Settings of a tracking store that say what is sent to it, not where it is.
NO_PLACES = tuple(
    f"tracking.{key}"
    for key in (
        "patience_s",
        "save_model",
        "save_pictures",
        "save_grad_cam",
        "system_metrics",
    )
)
OPTIONS = ("off", "mlflow")  # of the config group `tracking`


def require_own_places(folder: RunFolder, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise InputError if a folder from outside `outputs` names locations of its own.

    Its own are those that neither this call's overrides nor conf/ name. The user's password or
    token would be sent to its tracking store, and files would be written to its other locations.
    """
    link = Path(str(cfg.outputs)) / RUNS / folder.key
    if link.is_symlink() and link.resolve() == folder.path.resolve():
        return  # a process of this user has run in it before
    given = {key_of(override) for override in overrides}
    foreign = [
        override
        for override in folder.overrides
        if key_of(override) not in given and _names_a_place(override, cfg)
    ]
    if foreign:
        listed = "; ".join(format_value(override) for override in foreign[:3])
        message = (
            f"is not a run in {cfg.outputs}, and its run.json names locations ({listed}): "
            "give your own value for each of them"
        )
        raise InputError(f"resume={format_value(cfg.resume)}: {message}")


def _names_a_place(override: str, cfg: DictConfig) -> bool:
    key, value = key_of(override), override.partition("=")[2].strip()
    if role_of(key) != Role.LOCATION:
        return False
    if key == "tracking":
        return value not in OPTIONS
    if key in NO_PLACES:
        return False
    return str(OmegaConf.select(cfg, key, default=None)) != value.strip("'\"")
