"""Check what can be checked with torch alone, before Lightning is imported.

Importing Lightning and the other packages takes several times as long as importing torch.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from tunebook.config.targets import resolve
from tunebook.config.validation import Positive, Seed, validate_value
from tunebook.data.contents import resized
from tunebook.runs.make_network import image_size, make_network

if TYPE_CHECKING:
    from tunebook.config.run_config import RunConfig

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
        text = json.dumps([settings["model"], settings["data"]], sort_keys=True, default=str)
        if text in self._done:
            return
        target = source.get("_target_") if isinstance(source, dict) else None
        data = resolve(target, "data.source", "data.source._target_")
        # The size of other images depends on the source's settings, or on files.
        if hasattr(data, "image_shape"):
            channels = settings["data"].get("channels")
            shape = resized(data.image_shape, image_size(settings), channels)
            with torch.device("meta"):
                make_network(settings, shape, CLASSES)
        self._done.add(text)


def check(config: "RunConfig") -> None:
    """Raise SettingError if `config` can't run: at once for some settings, then for all."""
    EarlyCheck()(config.settings)
    from tunebook.runs.check import check as check_all

    check_all(config)
