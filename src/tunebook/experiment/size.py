"""Refuses networks and batches that need more memory than there is, by what they are on the meta device, which takes none."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tunebook import machine
from tunebook.checks import SettingError
from tunebook.data import ImageDataModule

COPIES = 2  # of the weights, at least: they and their gradients, or they and the checkpoint that they come from


def check_weights(make: Callable[[], nn.Module], settings: Mapping[str, Any]) -> None:
    """Raise SettingError where the network that `make` makes would not fit into memory. settings: of the network."""
    try:
        with torch.device("meta"):
            network = make()
        needed = COPIES * sum(_bytes(tensor) for tensor in (*network.parameters(), *network.buffers()))
    except (RuntimeError, OverflowError) as error:  # more numbers than can be counted
        if isinstance(error, RuntimeError) and "overflow" not in str(error) and "size" not in str(error):
            raise
        raise _too_large(settings, "more memory than any machine has") from None
    if needed > machine.memory():
        raise _too_large(settings, f"{machine.in_words(needed)} for weights and gradients")


def _too_large(settings: Mapping[str, Any], what: str) -> SettingError:
    """Return the error that names the largest of the network's settings, which is most likely the one at fault."""
    numbers = {key: value for key, value in settings.items() if isinstance(value, int) and not isinstance(value, bool)}
    key = max(numbers, key=lambda each: numbers[each], default="_target_")
    there = machine.in_words(machine.memory())
    return SettingError(f"model.{key}", settings[key], f"is too large: the network needs {what}, this machine has {there}")


def check_batches(network: nn.Module, data: ImageDataModule, kind: Literal["cpu", "gpu"], devices: int) -> None:
    """Raise SettingError where a batch's values in the network would not fit into memory. network: on the meta device."""
    there = memory_of(kind)
    sizes = _bytes_an_image(network, data)
    images = {
        "batch_size": (sum(sizes) / devices, data.batch_size),  # all are kept for the gradients
        "eval_batch_size": (max(sizes), min(data.eval_batch_size, max(data.val_size, data.source.test_size))),
    }
    for key, (size, count) in images.items():
        if size * count > there:
            most = max(1, int(there / size))
            needed, has = machine.in_words(size * count), machine.in_words(there)
            message = f"must be at most {most}: that many images need {needed} in this network, of {has} that there are"
            raise SettingError(f"data.{key}", getattr(data, key), message)


def memory_of(kind: Literal["cpu", "gpu"]) -> int:
    """Return the bytes of memory that one device of this kind has."""
    if kind == "gpu" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return machine.memory()


def _bytes_an_image(network: nn.Module, data: ImageDataModule) -> list[int]:
    """Return the bytes that each layer makes of one image."""
    sizes: list[int] = []

    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not any(module.children()):
            sizes.append(_bytes(output))

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    try:
        with torch.no_grad():
            network(torch.empty(1, *data.source.image_shape, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return sizes or [0]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
