"""Hold one run's config, composed and resolved once."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf, open_dict

from tunebook.config.roles import Role, role_of
from tunebook.redaction import learn, redact, redacted

Settings = dict[str, Any]


def plain(cfg: DictConfig) -> Settings:
    """Return a config as plain values, with every interpolation resolved.

    Its secrets are remembered, so that they are hidden wherever text is written.
    """
    settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(settings, dict)
    learn(settings)
    return {str(key): value for key, value in settings.items()}


def without_hydra(cfg: DictConfig) -> DictConfig:
    """Return a config without Hydra's own node."""
    own = cfg.copy()
    with open_dict(own):
        own.pop("hydra", None)
    return own


def without_secrets(cfg: DictConfig) -> str:
    """Return a config as YAML, with interpolations unresolved and secrets hidden."""
    return OmegaConf.to_yaml(OmegaConf.create(redacted(OmegaConf.to_container(cfg, resolve=False))))


@dataclass(frozen=True)
class RunConfig:
    """Hold the settings of one run, and where they came from.

    settings: plain values, with every interpolation resolved.
    choices: the chosen option of each config group, or None.
    overrides: as they were given, without secrets, settings of one call and Hydra's own.
    text: the config as YAML, with interpolations unresolved, secrets hidden and no run to resume.
    folder: the folder for the run's files.
    command: the script and its arguments, recorded as the run's command.
    """

    settings: Settings
    choices: Mapping[str, str | None]
    overrides: tuple[str, ...]
    text: str
    folder: Path
    command: tuple[str, ...]

    @classmethod
    def of(cls, cfg: DictConfig, command: Sequence[str] | None = None) -> Self:
        """Return the config of one run.

        cfg: a composed config with its `hydra` node. command: the command to record; that of this
        process if it is None.
        """
        own = without_hydra(cfg)
        settings = plain(own)
        own.resume = None
        return cls(
            settings,
            choices={str(group): option for group, option in cfg.hydra.runtime.choices.items()},
            overrides=tuple(
                redact(text) for text in cfg.hydra.overrides.task if role_of(text) != Role.CALL
            ),
            text=without_secrets(own),
            folder=Path(str(cfg.hydra.run.dir)).absolute(),
            command=tuple(sys.argv if command is None else command),
        )
