"""State what runs did before some config groups existed, so that earlier runs can still be read.

A run of an earlier version has no `loss` and no `metrics` in its stored config, in its checkpoints
and among its parameters in MLflow. Each function adds to one of these what such a run did.
"""

import copy
from collections.abc import Mapping
from typing import Any

# Group -> the option, and the settings that it had when the group was added.
ADDED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "loss": (
        "cross_entropy",
        {"_target_": "tunebook.losses.CrossEntropy", "label_smoothing": 0.0},
    ),
    "metrics": ("basic", {}),
}


def with_added_groups(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's nested settings with the groups that it lacks."""
    lacking = {group: dict(settings) for group, (_, settings) in ADDED.items()}
    return {**copy.deepcopy(lacking), **config}


def with_added_params(params: Mapping[str, str]) -> dict[str, str]:
    """Return a run's options and dotted settings, all as text, with those that it lacks."""
    lacking: dict[str, str] = {}
    for group, (option, settings) in ADDED.items():
        if group not in params:
            values = {f"{group}.{key}": str(value) for key, value in settings.items()}
            lacking |= {group: option, **values}
    return {
        **{key: value for key, value in lacking.items() if not key.endswith("_target_")},
        **params,
    }
