"""Check which metric selects a run's best epoch, and tell whether its highest value is best.

The settings of `metrics` map the name of each further metric to its class and its arguments.
"""

from collections.abc import Mapping
from typing import Any, Literal

from tunebook.config.targets import resolve
from tunebook.config.validation import SettingError, validate_value
from tunebook.metrics.facts import (
    ALWAYS,
    METRICS,
    VALIDATION,
    Direction,
    facts_of,
    full_name,
    short_name,
)

Settings = Mapping[str, Any] | None


def objectives(metrics: Settings) -> list[str]:
    """Return the metrics that can select an epoch: those of validation."""
    return [_of_validation(name) for name in (*ALWAYS, *(metrics or {}))]


def check_objective(objective: object, metrics: Settings) -> str:
    """Return the objective; raise SettingError if it is none of the run's validation metrics."""
    if not isinstance(metrics, Mapping | None):
        raise SettingError("metrics", metrics, "must be settings of a metric for each name")
    allowed = Literal[*objectives(metrics)]  # type: ignore[valid-type]
    try:
        return str(validate_value("objective", objective, allowed))
    except SettingError as error:
        if isinstance(objective, str) and objective in map(_of_validation, METRICS):
            hint = "choose an option of `metrics` that has it"
            raise SettingError("objective", objective, f"{error.allowed} Or {hint}.") from None
        raise


def _of_validation(name: str) -> str:
    return full_name(VALIDATION, name)


def direction_of(objective: str, metrics: Settings) -> Direction:
    """Return "max" if a higher value of the objective is better, else "min".

    The class of a metric that `facts` does not know says so itself, in torchmetrics' attribute
    `higher_is_better`. Raises SettingError if it does not.
    """
    name = short_name(objective)
    if name in METRICS:
        return facts_of(objective).direction
    settings = (metrics or {})[name]
    target = settings.get("_target_") if isinstance(settings, Mapping) else settings
    is_higher_better = resolve(target, "metrics", f"metrics.{name}._target_").higher_is_better
    if is_higher_better is None:
        raise SettingError(
            "objective", objective, f"{target} does not say whether higher_is_better"
        )
    return "max" if is_higher_better else "min"
