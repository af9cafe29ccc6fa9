"""Fit pretrained weights to a network, and say what differs if they are another network's."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tunebook.config.validation import InputError
from tunebook.networks.fine_tuned import FineTunedNetwork

SHOWN = 3  # differences named in a message
# The heads that only help to train GoogLeNet and Inception.
HELPERS = ("aux1.", "aux2.", "AuxLogits.")
COUNTER = "num_batches_tracked"  # of batch norm; files from before PyTorch 0.4.1 lack it
# Prefixes of names: of a Tunebook checkpoint's, and of those saved from several processes.
PREFIXES = ("network.model.", "module.")


def load_backbone(network: FineTunedNetwork, weights: Mapping[str, Tensor], name: str) -> None:
    """Load the weights of the same network into its backbone; the head keeps its random ones.

    weights: by their names, with a head of any shape or none. name: the file's, for the error.
    Raises InputError for weights of another network, and names what differs.
    """
    expected = {
        key: value for key, value in network.model.state_dict().items() if key not in network.head
    }
    found = {
        key: value
        for key, value in _renamed(weights, list(network.model.state_dict())).items()
        if key not in network.head and not key.startswith(HELPERS)
    }
    differences = [
        f"{key} is {_shape(found.get(key))} there and {_shape(expected.get(key))} here"
        for key in {**expected, **found}
        if _shape(found.get(key)) != _shape(expected.get(key))
        and not (key.endswith(COUNTER) and key not in found)
    ]
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise InputError(
            f"{name}: is not of the network {network.name}: "
            f"{'; '.join(differences[:SHOWN])[:300]}{more}"
        )
    for key, value in found.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"{name}: its {key} contains a value that is not a finite number")
    network.model.load_state_dict(found, strict=False)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))


def _renamed(weights: Mapping[str, Tensor], expected: list[str]) -> dict[str, Tensor]:
    """Return the weights with the names that this network has for them."""
    found = dict(weights)
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in found):
            found = {key.removeprefix(prefix): value for key, value in found.items()}
    if "_conv_stem.weight" in found:
        return {_name_in_timm(key, found, expected): value for key, value in found.items()}
    return found


# The names in efficientnet_pytorch and efficientnet_lite_pytorch, and those in timm.
OUTER = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
    "_fc": "classifier",
}  # fmt: skip
INNER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3", "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
}  # fmt: skip
# In blocks without expansion.
UNEXPANDED = {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _name_in_timm(key: str, weights: Mapping[str, Tensor], expected: list[str]) -> str:
    """Return timm's name of an EfficientNet's weight; timm counts the blocks of each stage."""
    blocks = list(dict.fromkeys(re.findall(r"^blocks\.\d+\.\d+\.", "\n".join(expected), re.M)))
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if match is None:
        layer, _, rest = key.partition(".")
        return f"{OUTER.get(layer, layer)}.{rest}"
    number, layer, rest = int(match[1]), match[2], match[3]
    is_expanded = f"_blocks.{number}._expand_conv.weight" in weights
    names = INNER if is_expanded else INNER | UNEXPANDED
    if number >= len(blocks) or layer not in names:
        return key
    return f"{blocks[number]}{names[layer]}.{rest}"
