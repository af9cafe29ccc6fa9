"""Find the run or the sweep that a user names.

A user may give its ID, the first characters of its ID, its name, or "last".
"""

import contextlib
import re
from collections.abc import Callable, Sequence

from tunebook.config.validation import InputError, format_value, suggest
from tunebook.redaction import redact
from tunebook.tags import REPRODUCES, SWEEP_NAME
from tunebook.text_output import printable
from tunebook.tracking.run_reader import ID, FoundRun, NotReadable, Query, Reader, open_reader
from tunebook.tracking.store import RunNotFound, open_client

LAST = "last"
SHORT_ID = re.compile("[0-9a-f]{4,31}")
# The addresses that MLflow gives a version of a registered model.
REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<version>\d+)|@(?P<alias>[\w-]+))")
SHORT = 8  # characters of an ID in a message
LISTED = 6  # runs in a message
LISTED_NAMES = 10  # names of sweeps or experiments in a message


class AmbiguousRun(InputError):
    """Report that a name or the first characters of an ID match more than one run.

    Its text is one line that lists these runs.
    """


def find_run(uri: str, text: str, key: str = "run") -> FoundRun:
    """Return the run with this ID, first characters of an ID (at least 4) or name; or the newest.

    The newest run is returned for "last". Reproductions and the parent runs of sweeps do not count.
    For `models:/<name>/<version>` or `models:/<name>@<alias>`, it is the run of a registered model.
    key: the setting that named the run, for messages.
    Raises RunNotFound, which suggests the nearest match; AmbiguousRun; or InputError if the store
    can't be read.
    """
    reader, digits = open_reader(uri), text.lower()
    if model := REGISTERED.fullmatch(text):
        return _run_of_model(uri, reader, model, key)
    if text == LAST:
        runs = [
            run
            for run in reader.search(Query.every())
            if not run.is_sweep and REPRODUCES not in run.tags
        ]
        if not runs:
            raise RunNotFound(f"{key}={LAST}: there is no run in {redact(uri)}")
        return runs[0]
    if ID.fullmatch(digits) and (run := reader.get(digits)):
        return run
    found = reader.search(Query.id_prefix(digits)) if SHORT_ID.fullmatch(digits) else []
    with contextlib.suppress(NotReadable):  # MLflow's filter syntax can't express every name
        found += reader.search(Query.name(text))
    return _only_one(
        found,
        f"{key}={_line(text)}",
        lambda: f"no such run in {redact(uri)}{nearest_run(reader, text)}",
    )


def _run_of_model(uri: str, reader: Reader, model: re.Match[str], key: str) -> FoundRun:
    """Return the run that logged a version of a registered model.

    model: a match of REGISTERED. Raises RunNotFound if there is no such version, or no such run.
    """
    from mlflow.exceptions import MlflowException

    client, where = open_client(uri), f"{key}={_line(model[0])}"
    try:
        version = (
            client.get_model_version_by_alias(model["name"], model["alias"])
            if model["alias"]
            else client.get_model_version(model["name"], model["version"])
        )
    except MlflowException:
        names = [_line(one.name) for one in client.search_registered_models()]
        known = f"there are: {', '.join(names[:LISTED_NAMES])}" if names else "there is none"
        raise RunNotFound(
            f"{where}: no such registered model in {redact(uri)}; "
            f"{known}.{suggest(model['name'], names)}"
        ) from None
    if not version.run_id or (found := reader.get(version.run_id)) is None:
        raise RunNotFound(f"{where}: no run is recorded for this version of the model")
    return found


def find_sweep(uri: str, text: str) -> FoundRun:
    """Return the parent run of the sweep with this name, ID or first characters of an ID.

    If several sweeps have the name, the newest is returned; so is the newest of all for "last".
    Raises what `find_run` raises.
    """
    sweeps, digits = open_reader(uri).search(Query.sweeps(), limit=1000), text.lower()
    exact = [run for run in sweeps if text == run.tags.get(SWEEP_NAME) or digits == run.run_id]
    if exact or (text == LAST and sweeps):
        return (exact or sweeps)[0]
    if not sweeps:
        raise RunNotFound(f"sweep={_line(text)}: there is no sweep in {redact(uri)}")
    names = list(dict.fromkeys(_line(run.tags.get(SWEEP_NAME, run.name)) for run in sweeps))
    known = (
        f"; available: {', '.join(names[:LISTED_NAMES])}.{suggest(text, names)}" if names else ""
    )
    short = [run for run in sweeps if SHORT_ID.fullmatch(digits) and run.run_id.startswith(digits)]
    return _only_one(short, f"sweep={_line(text)}", lambda: f"no such sweep in MLflow{known}")


def require_experiment(uri: str, name: str) -> None:
    """Raise RunNotFound if there is no MLflow experiment with this name."""
    names = open_reader(uri).experiments()
    if name not in names:
        lines = [_line(one) for one in names]
        known = f"available: {', '.join(lines[:LISTED_NAMES])}.{suggest(name, lines)}"
        raise RunNotFound(
            f"experiment_name={_line(name)}: no such experiment in {redact(uri)}; {known}"
        )


def _only_one(found: Sequence[FoundRun], named: str, unknown: Callable[[], str]) -> FoundRun:
    """Return the only run found.

    named: what the user gave, for messages. unknown: returns what to say if no run was found.
    Raises RunNotFound if there is none, and AmbiguousRun if there are several.
    """
    runs = list({run.run_id: run for run in found}.values())
    if not runs:
        raise RunNotFound(f"{named}: {unknown()}")
    if len(runs) > 1:
        digits = next(
            n for n in range(SHORT, 33) if len({run.run_id[:n] for run in runs}) == len(runs)
        )
        listed = ", ".join(f"{run.run_id[:digits]} ({_line(run.name)})" for run in runs[:LISTED])
        more = f", and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
        raise AmbiguousRun(
            f"{named}: matches several runs: {listed}{more}; give more characters of the ID"
        )
    return runs[0]


def nearest_run(reader: Reader, text: str) -> str:
    """Return a hint for a message: the run with the nearest id or name, or else the newest run.

    Only the newest runs are compared.
    """
    runs = reader.search(Query.every())
    if not runs:
        return "; it contains no runs yet"
    is_id = ID.fullmatch(text.lower()) or SHORT_ID.fullmatch(text.lower())
    known = [run.run_id[: len(text)] if is_id else _line(run.name) for run in runs]
    return (
        f".{near}"
        if (near := suggest(text, known))
        else f"; the newest is {runs[0].run_id[:SHORT]} ({_line(runs[0].name)})"
    )


def _line(text: str) -> str:
    return format_value(printable(text))
