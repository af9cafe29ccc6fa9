"""Make a run's network, which takes torch alone and none of the packages that import slowly."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tunebook.config.targets import make


def make_network(
    settings: Mapping[str, Any], image_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """Return the network that the settings of a run describe, for images of this shape."""
    network: nn.Module = make(
        settings["model"],
        "model",
        image_shape=image_shape,
        num_classes=num_classes,
        normalized=settings["data"]["normalize"] != "none",
    )
    return network
