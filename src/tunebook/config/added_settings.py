"""State what runs did before some settings existed, so that earlier runs can still be read.

A run of an earlier version lacks them in its stored config, in its checkpoints and among its
parameters in MLflow. Each function adds to one of these what such a run did.
"""

import copy
from collections.abc import Mapping
from typing import Any

from tunebook.config.roles import LOGGED, with_role

# Group -> the option, and the settings that it had when the group was added.
ADDED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "loss": (
        "cross_entropy",
        {
            "_target_": "tunebook.losses.CrossEntropy",
            "label_smoothing": 0.0,
            "class_weights": None,
        },
    ),
    "metrics": ("basic", {}),
}
# Settings that were added to a group that had existed before, with what they were added as. In a
# group of several classes, only settings with those of `COMPANIONS` got them.
ADDED_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "data": {
        "image_size": None,
        "channels": None,
        "resize": "squash",
        "normalize": "none",
        "sampler": "shuffled",
        "folds": None,
        "fold": 0,
    },
    "loss": {"class_weights": None},
    "trainer": {"accumulate_grad_batches": 1, "max_time": None, "compile": False},
}
COMPANIONS: Mapping[str, str] = {"loss": "label_smoothing"}


def with_added_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's nested settings with the groups and the settings that it lacks."""
    lacking = {group: dict(settings) for group, (_, settings) in ADDED.items()}
    found = {**copy.deepcopy(lacking), **config}
    for group, settings in ADDED_SETTINGS.items():
        if isinstance(found.get(group), dict) and _has_companion(group, found[group], ""):
            found[group] = {**settings, **found[group]}
    return found


def with_added_params(params: Mapping[str, str]) -> dict[str, str]:
    """Return a run's options and dotted settings, all as text, with those that it lacks."""
    lacking: dict[str, str] = {}
    for group, (option, settings) in ADDED.items():
        if group not in params:
            values = {f"{group}.{key}": str(value) for key, value in settings.items()}
            lacking |= {group: option, **values}
    for group, settings in ADDED_SETTINGS.items():
        if _has_companion(group, lacking | {**params}, f"{group}."):
            texts = {f"{group}.{key}": str(value) for key, value in settings.items()}
            lacking |= with_role(texts, LOGGED)
    return {
        **{key: value for key, value in lacking.items() if not key.endswith("_target_")},
        **params,
    }


def _has_companion(group: str, settings: Mapping[str, Any], prefix: str) -> bool:
    return group not in COMPANIONS or f"{prefix}{COMPANIONS[group]}" in settings
