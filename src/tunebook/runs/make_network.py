"""Make a run's network, which takes torch alone and none of the packages that import slowly."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tunebook.config.targets import make, resolve
from tunebook.networks.dropout import with_fast_dropout
from tunebook.networks.fine_tuned import RANDOM, FineTunedNetwork


def make_network(
    settings: Mapping[str, Any], image_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """Return the network that the settings of a run describe, for images of this shape."""
    network: nn.Module = make(
        settings["model"],
        "model",
        image_shape=image_shape,
        num_classes=num_classes,
        normalized=settings["data"].get("normalize") != "none",
    )
    return with_fast_dropout(network)


def image_size(settings: Mapping[str, Any]) -> Any:
    """Return the size to which a run's images are resized, as `data.image_size`.

    If none is set, it is the size of the images on which the network's weights were trained, or
    None if the network starts from random weights. Nothing is checked.
    """
    chosen, model = settings["data"].get("image_size"), settings["model"]
    if chosen is not None or model.get("weights", RANDOM) == RANDOM:
        return chosen
    network = resolve(model.get("_target_"), "model", "model._target_")
    name, weights = model.get("name"), model["weights"]
    is_named = isinstance(name, str) and isinstance(weights, str)
    if not is_named or not issubclass(network, FineTunedNetwork):
        return None
    found = network.pretraining_of(name, weights)
    return found.side if found else None
