"""Find which settings vary among runs, and which all of them share.

The sources are the parameters and the commands of the runs in MLflow.
"""

import shlex
from collections.abc import Mapping, Sequence

import pandas as pd
import yaml
from mlflow.entities import Run as MLflowRun

from tunebook.analysis.commands import exact_text
from tunebook.analysis.results import Setting, Value, setting_of_values
from tunebook.config.added_settings import with_added_params
from tunebook.config.roles import (
    COMPARED,
    NOT_OF_A_TRIAL,
    SHARED_IN_A_SWEEP,
    Role,
    repeats,
    role_of,
)

TIMES = ("time/", "speed/", "system/")
PRECISION = "trainer.precision"
PLACES_OF_IMAGES = (
    "data.root",
    "data.table",
)  # where images are, which a command that trains must say


def params_of(run: MLflowRun) -> dict[str, str]:
    """Return the parameters of a run, with the precision used in place of the one requested.

    A run of an earlier version has those that it lacks.
    """
    params, taken = with_added_params(run.data.params), run.data.tags.get("precision")
    return params | {PRECISION: taken} if PRECISION in params and taken else params


def settings_of(runs: Sequence[MLflowRun], objective: str) -> tuple[Setting, ...]:
    """Return the parameters in which runs differ.

    Those that follow from an option are left out, unless they were given in a command. An example
    is `model.filters` if all runs with the same model have the same value.
    """
    roles = COMPARED | ({Role.DEVICE} if objective.startswith(TIMES) else set())
    params = pd.DataFrame([params_of(run) for run in runs])
    params = params[[name for name in sorted(params) if role_of(name) in roles]]
    varying = params.loc[:, params.nunique(dropna=False) > 1]
    given = {word.lstrip("+").partition("=")[0] for run in runs for word in arguments_of(run)}
    return tuple(
        setting_of_values(name, list(dict.fromkeys(map(as_value, varying[name].dropna()))))
        for name in varying
        if name in given or not _follows_from_option(name, varying)
    )


def _follows_from_option(name: str, params: pd.DataFrame) -> bool:
    """Return whether all runs with the same option, such as `model`, have the same value."""
    option = name.partition(".")[0]
    if option == name or option not in params:
        return False
    return bool(params.groupby(option, dropna=False)[name].nunique(dropna=False).max() == 1)


def as_value(text: str) -> Value:
    """Return a parameter as the value that it was before MLflow converted it to text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            # YAML reads 1e-3 as text.
            return float(value) if value.lower() not in ("nan", "inf", "-inf") else value
        except ValueError:
            return value
    return value if isinstance(value, int | float | bool) or value is None else text


def values_of(words: Sequence[str]) -> dict[str, Value]:
    """Return the settings in these overrides, except locations, sweeps, seeds and folds.

    Text stays as it was typed.
    """
    found: dict[str, Value] = {}
    for word in words:
        key, is_setting, text = word.partition("=")
        if is_setting and not repeats(key) and role_of(key) not in SHARED_IN_A_SWEEP:
            value = as_value(text)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            # YAML reads `on` as true.
            found[key] = value if is_number or exact_text(value) == text else text
    return found


def arguments_of(run: MLflowRun) -> list[str]:
    """Return the arguments of the command that started the run.

    Empty if no command was recorded, or if it is not a shell command.
    """
    try:
        return shlex.split(run.data.tags.get("command", ""))[2:]
    except ValueError:
        return []


def shared_overrides(runs: Sequence[MLflowRun], settings: Sequence[Setting]) -> tuple[str, ...]:
    """Return the overrides that some command contains and that are true of all runs.

    Locations, sweeps and seeds are left out. An override of a parameter is shared if the parameter
    is the same in all runs; any other override is shared if all commands contain it.
    """
    commands = [arguments_of(run) for run in runs]
    params = [params_of(run) for run in runs]
    varying = {setting.name for setting in settings}
    words = list(dict.fromkeys(word for command in commands for word in command))
    return tuple(
        word
        for word in words
        if _is_shared(word, commands, params) and word.partition("=")[0] not in varying
    )


def _is_shared(
    word: str, commands: Sequence[list[str]], params: Sequence[Mapping[str, str]]
) -> bool:
    name, _, value = word.lstrip("+").partition("=")
    if (
        word.startswith("-")
        or (role_of(word) in NOT_OF_A_TRIAL | {Role.SEED} and name not in PLACES_OF_IMAGES)
        or "=" not in word
        or (name == PRECISION and value == "auto")
    ):
        return False
    values = {of_run.get(name) for of_run in params}
    if values == {None}:
        return all(word in command for command in commands)
    return len(values) == 1
