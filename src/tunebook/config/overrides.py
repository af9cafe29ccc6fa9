"""Check the overrides of a command line before a config is composed from them."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from tunebook.config.files import ConfigError
from tunebook.config.paths import CONFS
from tunebook.config.roles import OF_THIS_CALL, REFERABLE, role_of
from tunebook.config.validation import InputError, SettingError, format_value, one_line
from tunebook.redaction import HIDDEN

# The only Hydra settings that a command line may set. Others write files, read configs from
# elsewhere, or set environment variables.
HYDRA_SETTINGS = ("hydra.run.dir", "hydra.verbose")
MAX_REFERENCES = 8
KEY = re.compile(r"[+~]*\w[\w.-]*(/\w[\w.-]*)*(@[\w./-]*)?")
REFERENCE = re.compile(r"\$\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*\}")


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides with Hydra's grammar; raise ConfigError for one that does not match it."""
    parser = OverridesParser.create()
    parsed: list[Override] = []
    for text in overrides:
        try:
            parsed += parser.parse_overrides([text])
        except HydraException as error:
            raise ConfigError(f"{format_value(text)}: {_unreadable(text)}") from error
        except ValueError as error:  # such as a number of 5,000 digits
            raise ConfigError(f"{format_value(text)}: {one_line(str(error))}") from error
        except RecursionError as error:
            raise ConfigError(f"{format_value(text)}: is nested too deeply") from error
    return parsed


def _unreadable(text: str) -> str:
    """Return why an override does not match Hydra's grammar.

    Hydra's own message only names tokens of the grammar.
    """
    key, separator, _ = text.partition("=")
    if not separator and not key.startswith("~"):
        return "is not a setting; write key=value"
    if not KEY.fullmatch(key):
        return f"{format_value(key)!r} can't be the name of a setting; write key=value"
    return (
        "the value can't be read; close every quote and bracket, "
        f"and put text with special characters in quotes: '{key}=\"...\"'"
    )


def require_one_run(overrides: Sequence[str], advice: str) -> None:
    """Raise ConfigError if an override is a setting of sweeps, which a single run does not use."""
    for word in overrides:
        if re.match(r"[+~]*sweep[.=]", word):
            raise ConfigError(f"{word}: is a setting of sweeps: {advice}")


def check_override(override: Override, groups: Collection[str]) -> None:
    """Raise ConfigError or SettingError for an override that no config allows.

    groups: the names of the config's groups.
    """
    key = override.key_or_group
    if not key:
        raise ConfigError(f"{format_value(override.input_line)}: names no setting; write key=value")
    if override.package is not None:
        raise ConfigError(
            f"{format_value(override.input_line)}: an option's package (@) "
            f"can't be changed; write {key}=..."
        )
    if override.is_sweep_override():
        quote = "" if key in groups else f"; for one value with a comma, write '{key}=\"...\"'"
        raise ConfigError(
            f"{format_value(override.input_line)}: has several values; "
            f"for a sweep, add -m or call tunebook.sweep{quote}"
        )
    if re.split(r"[./]", key)[0] == "hydra":
        _check_hydra_override(override)
    if key in groups or "/" in key or any((folder / key).is_dir() for folder in CONFS):
        for option in _texts(override._value):
            if (
                {"", ".", ".."} & set(option.replace("\\", "/").split("/"))
                or "\0" in option
                or "${" in option
            ):
                raise ConfigError(
                    f"{key}={format_value(option)}: no such option; "
                    f"an option is the name of a file in conf/{key}/"
                )


def _check_hydra_override(override: Override) -> None:
    key, value = override.key_or_group, override.value()
    if key == "hydra.mode":
        raise ConfigError(f"hydra.mode={format_value(value)}: is set by the flag -m")
    if key == "hydra.sweeper.params":
        raise ConfigError(
            "hydra.sweeper.params: define a sweep on the command line instead: -m key=a,b"
        )
    if "LOCAL_RANK" in os.environ and (key, value) in _lightning_overrides():
        return
    if key not in HYDRA_SETTINGS or override.is_delete():
        allowed = ", ".join(HYDRA_SETTINGS)
        raise SettingError(
            key,
            value,
            f"is one of Hydra's own settings, which can't be set; allowed: {allowed}",
        )
    if key == "hydra.run.dir" and not (
        isinstance(value, str) and value.strip() and value.isprintable()
    ):
        raise SettingError(key, value, "must be a folder")
    if key == "hydra.verbose" and not isinstance(value, bool | str | list):
        raise SettingError(key, value, "must be true, false, or the name of a logger")


def _lightning_overrides() -> tuple[tuple[str, object], ...]:
    """Return the overrides that Lightning adds when it starts a process for a device."""
    rank = os.environ["LOCAL_RANK"]
    return ("hydra.job.name", f"train_ddp_process_{rank}"), ("hydra.output_subdir", None)


def words_taken_over(words: object, given: Collection[str], where: str) -> list[str]:
    """Return the overrides of a recorded run that this call reuses.

    None of them evaluates an interpolation on this machine. An override with a hidden secret or
    such an interpolation must be given again. given: the settings that this call's own overrides
    set. where: the run's name, for the error. Raises InputError for an override that can't be used.
    """
    kept: list[str] = []
    for word in words if isinstance(words, list) else [words]:
        if isinstance(word, str) and HIDDEN in word:
            if word.partition("=")[0].lstrip("+") not in given:
                raise InputError(
                    f"{word}: was not stored with the run, as it contains a secret; give it again"
                )
            continue
        key = _parse_untrusted(word, where).key_or_group
        if key in given and _is_evaluated(str(word)):
            continue
        if re.split(r"[./]", key)[0] in ("hydra", "resume", "resume_changes"):
            raise InputError(f"{where}: contains {format_value(word)}, which can't be reused")
        kept += check_outside_words([word], where)
    return kept


def overrides_of_stored_run(overrides: object, where: str) -> list[str]:
    """Return the overrides of an untrusted run that may be used here.

    Overrides that name locations are left out. InputError is raised for flags and for anything that
    would be evaluated on this machine.
    where: the setting that named the run, for the error's message.
    """
    kept: list[str] = []
    for override in overrides if isinstance(overrides, list) else [overrides]:
        if not isinstance(override, str) or override.startswith("-"):
            raise InputError(f"{where}: holds {format_value(override)}, which is no setting")
        if role_of(override) in OF_THIS_CALL:
            continue
        kept += check_outside_words([override], where)
    return kept


def check_outside_words(words: object, where: str) -> list[str]:
    """Return the overrides of an untrusted run, none of which evaluates an interpolation here.

    The names of their settings are checked later, when a config is composed from them. where: the
    run's name, for the error. Raises InputError for an override that can't be used.
    """
    texts: list[str] = []
    for word in words if isinstance(words, list) else [words]:
        text = str(_parse_untrusted(word, where).input_line)
        if _is_evaluated(text):
            raise InputError(
                f"{where}: contains {format_value(text)}, "
                "which would be evaluated on this machine; give it again"
            )
        texts.append(text)
    return texts


def _parse_untrusted(word: object, where: str) -> Override:
    """Parse an untrusted override; raise InputError if it does not set anything."""
    try:
        if not isinstance(word, str) or word.startswith("-"):
            raise ConfigError("no setting")
        (override,) = parse([word])
    except ConfigError:
        raise InputError(
            f"{where}: contains {format_value(word)}, which is not a setting"
        ) from None
    return override


def _is_evaluated(word: str) -> bool:
    """Return whether an override's value evaluates an interpolation.

    The override is parsed, because its text alone does not show it: Hydra reads `\\$\\{` as `${`.
    """
    (override,) = parse([word])
    return any(evaluates(text) for text in _texts(override._value))


def check_outside_values(content: Any, where: str) -> None:
    """Raise InputError if untrusted values contain an interpolation that is evaluated here."""
    references = [text for text in _texts(content) if "${" in text]
    for text in references:
        if evaluates(text):
            raise InputError(
                f"{where}: contains {format_value(text)}, which would be evaluated on this machine"
            )
    if len(references) > MAX_REFERENCES:  # nested references could expand without limit
        raise InputError(
            f"{where}: contains {len(references)} references to other settings; "
            f"allowed: at most {MAX_REFERENCES}"
        )


def evaluates(text: str) -> bool:
    """Return whether a text interpolates anything but a reference to a run's own settings."""
    match = REFERENCE.fullmatch(text)
    if match is None:
        return "${" in text
    return role_of(match[1]) not in REFERABLE


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in a value, including keys."""
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
