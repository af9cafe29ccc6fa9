"""What can be said of a config with torch alone, before Lightning and the rest are imported: that takes several times as long."""

import json
from collections.abc import Mapping
from typing import Any

import torch

from tunebook.checks import Positive, Seed, conform
from tunebook.targets import make, resolve

CLASSES = 10  # stands for the data's number of classes, which no setting depends on


class EarlyCheck:
    """Checks the seed, the learning rate and the network of many configs; those that are the same once.

    (Not the optimizer: making one imports torch's compiler, which takes as long as torch itself.)
    """

    def __init__(self) -> None:
        self._done: set[str] = set()

    def __call__(self, settings: Mapping[str, Any]) -> None:
        """Raise SettingError where `settings` can't run for one of these reasons. They are checked in full later."""
        conform("seed", settings["seed"], Seed)
        conform("optimizer.lr", settings["optimizer"].get("lr"), Positive)
        source = settings["data"].get("source")
        text = json.dumps([settings["model"], source], sort_keys=True, default=str)
        if text in self._done:
            return
        target = source.get("_target_") if isinstance(source, dict) else None
        data = resolve(target, "data.source", "data.source._target_")
        with torch.device("meta"):
            make(settings["model"], "model", image_shape=data.image_shape, num_classes=CLASSES)
        self._done.add(text)
