"""Checks the words of a command line before a config is composed from them."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from tunebook.checks import InputError, SettingError, shown
from tunebook.commandline.files import ConfigError
from tunebook.paths import CONF

# Of Hydra's own settings, those that a command line may set. Others write files, read configs from elsewhere, or set the
# environment.
HYDRA_SETTINGS = ("hydra.run.dir", "hydra.verbose")
# The settings that an expression from outside may refer to: `${optimizer.lr}`. Others hold places, addresses and secrets.
REFERRED_TO = ("augmentation", "data", "model", "objective", "optimizer", "scheduler", "seed", "trainer")
PLACES = ("data.root", "data.source")
REFERENCE = re.compile(r"\$\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*\}")


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return the words as Hydra understands them. Raises ConfigError for one that it does not understand."""
    parser = OverridesParser.create()
    parsed: list[Override] = []
    for text in overrides:
        try:
            parsed += parser.parse_overrides([text])
        except (HydraException, ValueError, RecursionError) as error:  # e.g. a number of 5,000 digits
            said = next((line for e in (error, error.__cause__) for line in str(e or "").splitlines() if line.strip()), "")
            raise ConfigError(f"{shown(text)}: {said.strip() or 'is nested too deeply'}") from error
    return parsed


def check_word(override: Override, groups: Collection[str]) -> None:
    """Raise ConfigError or SettingError for a word that no command line may hold, whatever the config. groups: their names."""
    key = override.key_or_group
    if not key:
        raise ConfigError(f"{shown(override.input_line)}: names no setting; write key=value")
    if override.package is not None:
        raise ConfigError(f"{shown(override.input_line)}: an option's place in the config (@) can't be chosen; write {key}=...")
    if re.split(r"[./]", key)[0] == "hydra":
        _check_hydra_word(override)
    if key in groups or "/" in key or (CONF / key).is_dir():
        for option in _texts(override._value):
            if {"", ".", ".."} & set(option.replace("\\", "/").split("/")) or "\0" in option:
                raise ConfigError(f"{key}={shown(option)}: no such option; an option is the name of a file in conf/{key}/")


def _check_hydra_word(override: Override) -> None:
    key, value = override.key_or_group, override.value()
    if key == "hydra.mode":
        raise ConfigError(f"hydra.mode={shown(value)}: is chosen by the flag -m")
    if key == "hydra.sweeper.params":
        raise ConfigError("hydra.sweeper.params: a sweep is written on the command line: -m key=a,b")
    if key not in HYDRA_SETTINGS or override.is_delete():
        allowed = ", ".join(HYDRA_SETTINGS)
        raise SettingError(key, value, f"is one of Hydra's own settings, which a run does not set; allowed: {allowed}")
    if key == "hydra.run.dir" and (not isinstance(value, str) or not value.strip()):
        raise SettingError(key, value, "must be a folder")
    if key == "hydra.verbose" and not isinstance(value, bool | str | list):
        raise SettingError(key, value, "must be true, false, or the name of a logger")


def check_outside_words(words: object, where: str) -> list[str]:
    """Return the words of a run from outside as a list, none of which evaluates an expression on this machine.

    Which settings they name is checked where a config is composed from them. where: names the run, for the InputError.
    """
    texts: list[str] = []
    for word in words if isinstance(words, list) else [words]:
        if not isinstance(word, str) or word.startswith("-"):
            raise InputError(f"{where}: holds {shown(word)}, which is no setting")
        try:
            (override,) = parse([word])
        except (ConfigError, ValueError):
            raise InputError(f"{where}: holds {shown(word)}, which is no setting") from None
        if any(evaluates(text) for text in _texts(override._value)):
            raise InputError(f"{where}: holds {shown(word)}, which would be looked up on this machine; give this setting again")
        texts.append(word)
    return texts


def check_outside_values(content: Any, where: str) -> None:
    """Raise InputError where plain values from outside hold an expression that would be evaluated on this machine."""
    for text in _texts(content):
        if evaluates(text):
            raise InputError(f"{where}: holds {shown(text)}, which would be looked up on this machine")


def evaluates(text: str) -> bool:
    """Return whether a text is more than plain text and references to a run's own settings."""

    def is_own(match: re.Match[str]) -> str:
        key = match[1]
        is_place = any(key == place or key.startswith(f"{place}.") for place in PLACES)
        return "" if key.split(".")[0] in REFERRED_TO and not is_place else match[0]

    return "${" in REFERENCE.sub(is_own, text)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value, keys too."""
    if isinstance(value, QuotedString):
        yield value.text
    elif isinstance(value, str):
        yield value
    elif isinstance(value, ChoiceSweep):
        yield from _texts(value.list)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
