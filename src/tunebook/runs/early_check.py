"""Check what can be checked with torch alone, before Lightning is imported.

Importing Lightning and the other packages takes several times as long as importing torch.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch

from tunebook.config.targets import make, resolve
from tunebook.config.validation import Positive, Seed, validate_value

CLASSES = 10  # any number will do: no setting depends on the data's number of classes


class EarlyCheck:
    """Check the seed, learning rate and network of many configs; equal networks are checked once.

    The optimizer is not checked: creating one imports torch's compiler, which takes as long as
    importing torch itself.
    """

    def __init__(self) -> None:
        self._done: set[str] = set()

    def __call__(self, settings: Mapping[str, Any]) -> None:
        """Raise SettingError if the seed, the learning rate or the network can't be used.

        All settings are checked later, by `tunebook.runs.check`.
        """
        validate_value("seed", settings["seed"], Seed)
        validate_value("optimizer.lr", settings["optimizer"].get("lr"), Positive)
        source = settings["data"].get("source")
        text = json.dumps([settings["model"], source], sort_keys=True, default=str)
        if text in self._done:
            return
        target = source.get("_target_") if isinstance(source, dict) else None
        data = resolve(target, "data.source", "data.source._target_")
        if not hasattr(data, "image_shape"):  # a user's own may depend on its settings
            data = make(source, "data.source")
        with torch.device("meta"):
            make(settings["model"], "model", image_shape=data.image_shape, num_classes=CLASSES)
        self._done.add(text)
