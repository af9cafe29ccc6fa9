"""Read what a sweep recorded in MLflow about itself: its request, its errors, its winner."""

import csv
import json
import logging
import re
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as MLflowRun
from mlflow.exceptions import MlflowException

from tunebook.analysis.results import Setting, Value, setting_of_values
from tunebook.config.roles import FOLD, repeats
from tunebook.text_output import quoted

log = logging.getLogger(__name__)

# Parameters of a sweep's parent run that describe the sweep itself.
OF_A_SWEEP = re.compile(r"(sweep|space)(\.|$)")


@dataclass(frozen=True)
class VariedSetting:
    """Hold a setting that a sweep varied, as the sweep recorded it.

    when: the (key, option) that it depends on; None if it always varies.
    """

    setting: Setting
    key: str
    when: tuple[str, str] | None

    def applies(self, params: Mapping[str, Value]) -> bool:
        """Return whether the setting varies in a run with these parameters."""
        return self.when is None or str(params.get(self.when[0])) == self.when[1]


def request(client: MlflowClient, parent: MLflowRun) -> dict[str, Any]:
    """Return the request for the sweep, as the sweep recorded it; {} if there is no record."""
    text = _artifact(client, parent, "sweep/request.json")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_adaptive(asked: Mapping[str, Any]) -> bool:
    """Return whether later trials were chosen by the results of earlier ones.

    asked: the sweep's request.
    """
    settings = asked.get("sweep")
    if not isinstance(settings, Mapping):
        return False
    return "plan" in settings or "TPE" in str(settings.get("sampler"))


def going_on(parent: MLflowRun, name: str, asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words of `train -m` that continue a sweep's search, without its budget.

    They are `sweep=auto` after a grid or a search, and the same command after `sweep=auto`. () for
    other sweeps, for a cross-validation, and for a study in a database server.
    """
    settings, space = asked.get("sweep"), asked.get("space")
    if not isinstance(settings, Mapping) or not isinstance(space, Mapping):
        return ()
    if FOLD in space or parent.data.params.get("sweep.storage", "None") not in ("None", "null"):
        return ()
    if settings.get("plan") == "auto":
        try:
            words = shlex.split(parent.data.tags.get("command", ""))
        except ValueError:
            return ()
        if "-m" not in words:
            return ()
        kept = [
            word
            for word in words[words.index("-m") + 1 :]
            if word.partition("=")[0] not in ("budget", "sweep.budget", "sweep.name")
        ]
        return (*kept, f"sweep.name={quoted(name)}")
    if "plan" in settings or "of" in settings or not all(space):
        return ()
    return ("sweep=auto", f"sweep.of={quoted(name)}")


def errors(client: MlflowClient, parent: MLflowRun) -> dict[str, str]:
    """Return trial -> its error, from the sweep's table."""
    rows = csv.DictReader((_artifact(client, parent, "sweep/trials.csv") or "").splitlines())
    return {str(row.get("trial")): str(row.get("error") or "") for row in rows}


def _artifact(client: MlflowClient, run: MLflowRun, path: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run.info.run_id, path, folder)).read_text()
        except (MlflowException, OSError, UnicodeDecodeError):
            return None


def dimensions(asked: Mapping[str, Any]) -> tuple[VariedSetting, ...]:
    """Return the dimensions in a sweep's request.

    Empty if it has none, or if they can't be read.
    """
    try:
        varied = asked.get("dimensions", [])
        return tuple(_dimension(one) for one in varied if not repeats(str(one["key"])))
    except (KeyError, TypeError, ValueError) as error:
        log.warning(
            "the sweep's search space can't be read (%s: %s); it is inferred from the trials",
            type(error).__name__,
            error,
        )
        return ()


def _dimension(one: Mapping[str, Any]) -> VariedSetting:
    name, when = str(one["name"]), one["when"]
    if one["values"] is None:
        setting = Setting(name, True, (), float(one["low"]), float(one["high"]), bool(one["log"]))
    else:
        setting = setting_of_values(name, list(one["values"]))
    return VariedSetting(
        setting, str(one["key"]), None if when is None else (str(when[0]), str(when[1]))
    )


def winner(parent: MLflowRun) -> tuple[str, ...]:
    """Return the overrides that a final sweep got from the sweep whose winner it trains.

    Empty for any other sweep.
    """
    params = parent.data.params
    if params.get("sweep") != "final":
        return ()
    return tuple(
        f"{key}={value}"
        for key, value in params.items()
        if key != "objective" and not OF_A_SWEEP.match(key)
    )
