"""Compose configs and check their names: groups, options, keys and targets.

torch is not imported, so that a typo is reported without delay.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tunebook.config.files import ConfigError
from tunebook.config.overrides import check_override, parse
from tunebook.config.paths import (
    CONF,
    PROJECT,
    PROJECT_PROBLEM,
    ROOT,
    config_files,
    why_unwritable,
)
from tunebook.config.quotes import normalize_overrides
from tunebook.config.targets import KINDS, check_name, kind_at
from tunebook.config.validation import SettingError, suggest
from tunebook.redaction import learn, learn_words

# Hydra's own launcher and sweeper, which have a _target_ too.
HYDRA_TARGETS = ("hydra._internal.core_plugins.",)
# Settings that Hydra sets itself. They depend on the overrides and the folder.
HYDRA_FINDINGS = ("runtime.", "overrides.", "job.override_dirname")
SQLITE = "sqlite:///"
# Nodes that an experiment or a command line may add. Their class checks the keys in them.
NEW_AS_A_WHOLE = (
    "hydra",
    "augmentation.",
    "callbacks.",
    "metrics.",
    "tracking.also.",
    "sweep.sampler.",
    "sweep.pruner.",
    "sweep.space.",
    "sweep.slurm.more.",
)
LOGGING_CLASSES = (
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "tunebook.redaction.RedactingFormatter",
)

OmegaConf.register_new_resolver("root", lambda: str(ROOT), replace=True)


def compose_config(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a config, check its names, and return it with its `hydra` node.

    Raises ConfigError or SettingError for a config that can't be used.
    """
    _check_project()
    overrides = normalize_overrides(config_name, overrides)
    learn_words(overrides)
    parsed = parse(overrides)
    for override in parsed:
        check_override(override, default_choices(config_name))
    with _hydra():
        for override in parsed:
            _check_override(config_name, override, overrides)
        cfg = _compose(config_name, list(overrides))
    learn(OmegaConf.to_container(cfg, resolve=False))
    words = [
        text
        for override, text in zip(parsed, overrides, strict=True)
        if override.is_hydra_override()
    ]
    _check_hydra(cfg, config_name, tuple(words))
    check_names(config_name, cfg)
    return cfg


def recompose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a config whose names were checked before, in another process."""
    with _hydra():
        return _compose(config_name, list(overrides))


def check_names(config_name: str, cfg: DictConfig) -> None:
    """Raise ConfigError or SettingError if a config's names are wrong.

    Each group needs an option, each key must belong to a chosen option, each target must be
    trusted, and the folders for results must be writable.
    """
    choices = dict(cfg.hydra.runtime.choices)
    for group, default in default_choices(config_name).items():
        if default is not None and choices.get(group) is None:
            raise SettingError(group, None, f"is required; allowed: {', '.join(options(group))}")
    for group, choice in choices.items():
        if choice is not None and str(choice).startswith("_"):
            allowed = options(group)
            raise ConfigError(
                f"{group}={choice}: no such option; allowed: {', '.join(allowed)}."
                f"{suggest(choice, allowed)}"
            )
    written = [word.partition("=")[0] for word in cfg.hydra.overrides.task]
    chooses_only = set(written) <= set(default_choices(config_name))
    known = set(keys(cfg if chooses_only else with_choices(choices, config_name)))
    of_its_own = _top_keys(config_name)
    for key in keys(cfg):
        if (top := key.partition(".")[0]) not in of_its_own:  # an option's file may have any key
            raise ConfigError(
                f"{key}: no such setting."
                f"{suggest(top, of_its_own) or _leaf_elsewhere(key, list(known))}"
            )
        if key not in known and not key.startswith(NEW_AS_A_WHOLE):
            raise ConfigError(f"{key}: no such setting.{suggest(key, known)}")
    check_targets(cfg)
    refuse_control_characters(cfg)
    if "outputs" in cfg:
        if not isinstance(cfg.outputs, str) or not cfg.outputs.strip():
            raise SettingError("outputs", cfg.outputs, "must be a folder")
        _check_writable("outputs", cfg.outputs)
    _check_writable("hydra.run.dir", str(OmegaConf.select(cfg, "hydra.run.dir")))
    uri = str(OmegaConf.select(cfg, "tracking.uri", default=""))
    if uri.startswith(SQLITE):
        _check_writable("tracking.uri", uri, Path(uri.removeprefix(SQLITE)).parent)


@functools.cache
def _top_keys(config_name: str) -> frozenset[str]:
    """Return a config's top-level keys: the primary config's own, and one for each chosen group."""
    primary = OmegaConf.load(CONF / f"{config_name}.yaml")
    assert isinstance(primary, DictConfig)
    nodes = [group for group, choice in default_choices(config_name).items() if choice is not None]
    return frozenset(map(str, [*primary, *nodes])) - {"defaults"}


def options(group: str) -> list[str]:
    """Return a group's options: its YAML files whose name does not begin with an underscore."""
    return [path.stem for path in config_files(group) if not path.stem.startswith("_")]


def _check_project() -> None:
    """Raise ConfigError if the user's project can't be used, or has a folder that is no group's."""
    if PROJECT_PROBLEM:
        raise ConfigError(PROJECT_PROBLEM)
    groups = default_choices()
    for folder in sorted(PROJECT.conf.iterdir()) if PROJECT is not None else ():
        if folder.is_dir() and folder.name not in groups and folder.name[0] not in "._":
            raise ConfigError(
                f"{folder}: there is no such config group; allowed: {', '.join(groups)}."
                f"{suggest(folder.name, groups)}"
            )


@functools.cache
def default_choices(config_name: str = "config") -> dict[str, str | None]:
    """Return each group with the option that the primary config's defaults list chooses."""
    entries = OmegaConf.load(CONF / f"{config_name}.yaml").defaults
    pairs = {
        str(k): v for entry in entries if isinstance(entry, DictConfig) for k, v in entry.items()
    }
    return {group: choice for group, choice in pairs.items() if not group.startswith("override ")}


def with_choices(choices: Mapping[str, str | None], config_name: str = "config") -> DictConfig:
    """Return the config of these options with no overrides: all keys and their defaults."""
    chosen = tuple(
        f"{group}={choices[group]}" for group in default_choices(config_name) if choices.get(group)
    )
    return _composed(config_name, chosen)


@functools.cache  # all trials of a sweep ask for the same few
def _composed(config_name: str, chosen: tuple[str, ...]) -> DictConfig:
    with _hydra():
        return compose(config_name, list(chosen))


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a config, including inner nodes.

    Lists are not entered, and interpolations are not followed.
    """
    if (
        not isinstance(node, DictConfig)
        or node._is_none()
        or node._is_missing()
        or node._is_interpolation()
    ):
        return
    for key in map(str, node):
        yield prefix + key
        yield from keys(node._get_node(key), f"{prefix}{key}.")


def targets(cfg: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key that can name code, with its value.

    These are `_target_` anywhere, and `class` and `()` in the settings of logging. An interpolation
    is not evaluated, because its text is not a valid name.
    """
    if isinstance(cfg, ListConfig):
        for i, item in enumerate(cfg):
            yield from targets(item, f"{prefix}{i}.")
    if (
        not isinstance(cfg, DictConfig)
        or cfg._is_none()
        or cfg._is_missing()
        or cfg._is_interpolation()
    ):
        return
    for key in map(str, cfg):
        path = prefix + key
        node = cfg._get_node(key)
        in_logging = path.startswith(("hydra.job_logging.", "hydra.hydra_logging."))
        if key == "_target_" or (in_logging and key in ("class", "()")):
            yield path, getattr(node, "_value", lambda: None)()
        yield from targets(node, f"{path}.")


def check_targets(cfg: DictConfig) -> None:
    """Raise SettingError for a target that a config must not name."""
    for path, value in targets(cfg):
        _check_target(path, value)


def refuse_control_characters(cfg: DictConfig) -> None:
    """Raise SettingError for text with control characters, such as NUL, ESC or a newline."""
    for key, value in leaves(cfg):
        if not key.startswith("hydra.") and isinstance(value, str) and not value.isprintable():
            raise SettingError(key, value, "must not contain control characters")


def _check_target(path: str, value: Any) -> None:
    where = path.removesuffix("._target_")
    if where.startswith(("hydra.job_logging", "hydra.hydra_logging")):
        if value not in LOGGING_CLASSES:
            raise SettingError(path, value, f"must be one of {', '.join(LOGGING_CLASSES)}")
    elif where.startswith("hydra."):
        if not str(value).startswith(HYDRA_TARGETS):
            raise SettingError(path, value, "must be Hydra's own launcher or sweeper")
    else:
        kind = kind_at(where)
        if kind is None:
            raise SettingError(
                path, value, f"_target_ is not allowed here, but in {', '.join(KINDS)}"
            )
        check_name(value, kind, path)


def _check_hydra(cfg: DictConfig, config_name: str, words: tuple[str, ...]) -> None:
    """Raise SettingError if a file other than the primary config has changed Hydra's settings.

    words: the overrides of Hydra's settings on the command line.
    """
    ours = dict(leaves(_hydra_node(config_name, words)))
    found = dict(leaves(cfg.hydra))
    for key in {**ours, **found}:
        if not key.startswith(HYDRA_FINDINGS) and repr(ours.get(key)) != repr(found.get(key)):
            message = "is set by a file in conf/; only the primary config may set it"
            raise SettingError(f"hydra.{key}", found.get(key), message)


@functools.cache
def _hydra_node(config_name: str, words: tuple[str, ...]) -> DictConfig:
    """Return Hydra's node of the primary config with no option chosen and these overrides."""
    groups = [group for group, choice in default_choices(config_name).items() if choice is not None]
    with _hydra():
        node: DictConfig = _compose(config_name, [*(f"~{group}" for group in groups), *words]).hydra
    return node


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key that has a plain value, and that value; interpolations stay text."""
    nodes: list[tuple[str, Any]] = [("", OmegaConf.to_container(node, resolve=False))]
    while nodes:
        path, value = nodes.pop()
        if isinstance(value, dict) and value:
            nodes += [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
        else:
            yield prefix + path, value


def _check_writable(key: str, value: str, folder: Path | None = None) -> None:
    if reason := why_unwritable(folder or Path(value)):
        raise SettingError(key, value, f"cannot be written: {reason}")


def _hydra() -> Any:
    GlobalHydra.instance().clear()
    return initialize_config_dir(str(CONF), version_base="1.3", job_name="train")


def _check_override(config_name: str, override: Override, overrides: Sequence[str]) -> None:
    """Raise ConfigError or SettingError for an override that this config does not allow.

    A group must keep an option. `+key=value` would add a setting that nothing uses. `++key=value`
    is allowed if the key exists.
    """
    group, value = override.key_or_group, override.value()
    if group in default_choices(config_name) and not override.is_delete():
        allowed = ", ".join(options(group))
        if value is None and default_choices(config_name)[group] is not None:
            raise SettingError(group, None, f"is required; allowed: {allowed}")
        if isinstance(value, dict | list):
            raise SettingError(group, value, f"must be the name of one option; allowed: {allowed}")
    if override.is_delete() and group in _top_keys(config_name) - set(default_choices(config_name)):
        raise ConfigError(f"{override.input_line}: {group} is required; write {group}=<a value>")
    if override.is_add() or override.is_force_add():
        groups = default_choices(config_name)
        chosen = [word for word in overrides if word.partition("=")[0] in groups]
        known = [*groups, *keys(_compose(config_name, chosen))]
        if override.key_or_group not in known:
            hint = suggest(override.key_or_group, known) or _leaf_elsewhere(
                override.key_or_group, known
            )
            raise ConfigError(f"{override.input_line}: no such setting.{hint}")
        if override.is_add():
            hint = suggest(override.key_or_group, known)
            raise ConfigError(f"{override.input_line}: already exists: write it without +.{hint}")


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    try:
        return compose(config_name, overrides, return_hydra_config=True)
    except ConfigError:
        raise
    except MissingConfigException as error:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        allowed = [o for o in error.options or () if not o.startswith("_")]
        if not group or not allowed:
            raise ConfigError(_first_line(error)) from error
        raise ConfigError(
            f"{group}={option}: no such option; allowed: {', '.join(allowed)}."
            f"{suggest(option, allowed)}"
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explained(config_name, error, overrides)) from error
    except RecursionError as error:
        raise ConfigError(
            f"{' '.join(overrides)}: cannot be composed: a file in conf/ includes itself"
        ) from error
    except (ValueError, TypeError, AttributeError) as error:  # errors that Hydra does not handle
        raise ConfigError(
            f"{' '.join(overrides)}: cannot be composed: {_first_line(error)}"
        ) from error


def _explained(config_name: str, error: Exception, overrides: list[str]) -> str:
    """Return a composition error in one line, with the nearest name for one that does not exist."""
    match = re.search(r"[Cc]ould not (?:override|delete)[^']* '([^']+)'", str(error))
    if match is None:
        return _first_line(error)
    name = match[1].partition("@")[0]
    chosen = [
        o for o in overrides if "=" in o and o.partition("=")[0] in default_choices(config_name)
    ]
    try:
        full = compose(config_name, chosen, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError):
        return _first_line(error)  # the mistake is in an option's own file
    # Hydra's own settings are left out, because most of them are refused.
    known = [key for key in keys(full) if not key.startswith("hydra")]
    if name in known:
        return _first_line(error)
    given = next(
        (override for override in overrides if override.lstrip("~").startswith(name)), name
    )
    group = name.partition(".")[0]
    choice = full.hydra.runtime.choices.get(group) if "." in name else None
    of_option = f" of {group}={choice}" if choice else ""
    similar = [key for key in known if "." in key] if of_option else known
    hint = suggest(name, similar) or _leaf_elsewhere(name, known)
    return f"{given}: no such setting{of_option}.{hint}"


def _leaf_elsewhere(name: str, known: Sequence[str]) -> str:
    """Return a hint for a name that is the last part of a key: `filters` of `model.filters`."""
    leaves = {key.rpartition(".")[2]: key for key in known if not key.startswith("hydra")}
    hint = suggest(name.rpartition(".")[2], leaves)
    match = re.search(r"'(.+)'", hint)
    return f" Did you mean '{leaves[match[1]]}'?" if match else ""


def _first_line(error: Exception) -> str:
    """Return the first lines of an error and of its cause."""
    lines = [
        str(e).strip().splitlines()[0]
        for e in (error, error.__cause__)
        if e is not None and str(e).strip()
    ]
    return " ".join(dict.fromkeys(lines)) or type(error).__name__
