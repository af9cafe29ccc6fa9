"""Check the settings of compare.py, before the statistics libraries are imported.

The main check is that the requested sweep or experiment exists.
"""

import re
from dataclasses import dataclass
from typing import Any, Self

from tunebook.config.validation import Name, SettingError, validate_value
from tunebook.tracking.run_lookup import find_run, find_sweep, require_experiment
from tunebook.tracking.store import require_mlflow

COMPARISON = re.compile(r"[=<>]|\b(LIKE|ILIKE|IN|IS)\b", re.IGNORECASE)
LIST = re.compile(r"\[(.*)\]")
TYPES: dict[str, Any] = {
    **dict.fromkeys(("sweep_name", "runs", "metric", "paired"), Name | None),
    "report": bool,
}


@dataclass(frozen=True)
class RequestedRuns:
    """Name the runs to compare: those of a sweep, of MLflow's filter `runs`, or of an experiment.

    uri: the address of the tracking store. metric: None for the runs' objective.
    """

    uri: str
    sweep: str | None
    runs: str | None
    experiment: str
    metric: str | None

    @classmethod
    def of(cls, cfg: Any) -> Self:
        """Return what compare's settings request."""
        sweep, runs, metric = (
            None if value is None else str(value)
            for value in (cfg.sweep_name, cfg.runs, cfg.metric)
        )
        return cls(str(cfg.tracking.uri), sweep, runs, str(cfg.experiment_name), metric)


def pair_of(cfg: Any) -> list[str] | None:
    """Return the two runs that `runs=[a,b]` names, or None if `runs` is a filter or not given."""
    found = LIST.fullmatch(str(cfg.runs))
    return [name.strip() for name in found[1].split(",")] if found else None


def _check_pair(pair: list[str], cfg: Any) -> None:
    """Raise SettingError or InputError unless these are two runs, and nothing else is asked."""
    if len(set(pair)) != 2 or len(pair) != 2:
        raise SettingError("runs", ",".join(pair), "must be a filter, or a list of two runs")
    for key in ("metric", "paired"):
        if cfg[key] is not None:
            raise SettingError(key, cfg[key], "can't be used with a list of two runs")
    for name in pair:
        find_run(str(cfg.tracking.uri), name, "runs")


def check(cfg: Any) -> None:
    """Raise SettingError or InputError if a setting can't be used.

    This includes a sweep or an experiment that does not exist.
    """
    for key, kind in TYPES.items():
        value = cfg[key]
        validate_value(key, value if kind is bool or value is None else str(value), kind)
    require_mlflow(cfg)
    if cfg.sweep_name is not None and cfg.runs is not None:
        raise SettingError(
            "runs",
            cfg.runs,
            "selects runs by a filter, and sweep_name those of one sweep: give only one of them",
        )
    if (pair := pair_of(cfg)) is not None:
        _check_pair(pair, cfg)
        return
    if cfg.runs is not None and not COMPARISON.search(str(cfg.runs)):
        raise SettingError(
            "runs", cfg.runs, "is not an MLflow filter, such as params.model = 'mlp'"
        )
    if cfg.sweep_name is not None:
        find_sweep(str(cfg.tracking.uri), str(cfg.sweep_name))
    elif cfg.runs is None:
        require_experiment(str(cfg.tracking.uri), str(cfg.experiment_name))
