"""Estimate a network's memory use on torch's meta device, which allocates nothing."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tunebook import machine
from tunebook.config.validation import SettingError
from tunebook.networks import FineTunedNetwork
from tunebook.runs.assemble import RunComponents
from tunebook.text_output import bytes_text
from tunebook.training.averaging import WeightAveraging
from tunebook.training.trainer import device_kind


def check_memory(parts: RunComponents) -> None:
    """Raise SettingError if training or evaluation needs more memory than is available.

    parts: objects that were built on the meta device.
    """
    trainer, data, network = parts.settings["trainer"], parts.data, parts.task.network
    try:
        train = training_bytes(parts, data.batch_size)
    except SettingError:  # raised by the optimizer
        raise
    except (RuntimeError, ValueError) as error:
        # Batch norm refuses a single value, and a size may overflow.
        message = f"cannot be trained in batches of {data.batch_size} images: {error}"
        raise SettingError("model", parts.settings["model"]["_target_"], message) from error
    evaluated = min(data.eval_batch_size, max(data.val_size, data.contents.test_size))
    needed = max(train, evaluation_bytes(network, (evaluated, *data.contents.image_shape)))
    is_gpu = device_kind(trainer["accelerator"]) == "gpu"
    available = _gpu_memory() if is_gpu else machine.memory()
    weights = tensor_bytes(network.state_dict().values())
    if not is_gpu and isinstance(trainer["devices"], int):
        # The devices are processes of this machine, which share each batch but not the weights.
        needed = max(needed, train + (trainer["devices"] - 1) * 2 * weights)
    if max(needed, weights) > available:
        key, value = _largest(parts, batch_matters=needed > 16 * weights)
        raise SettingError(
            key,
            value,
            f"needs about {bytes_text(needed)} of memory; available: {bytes_text(available)}",
        )


def check_weights(parts: RunComponents) -> None:
    """Raise SettingError if the weights alone need more memory than is available.

    parts: objects that were built on the meta device.
    """
    needed, available = tensor_bytes(parts.task.network.state_dict().values()), machine.memory()
    if needed > available:
        key, value = _largest(parts, batch_matters=False)
        raise SettingError(
            key,
            value,
            f"needs about {bytes_text(needed)} of memory; available: {bytes_text(available)}",
        )


def training_bytes(parts: RunComponents, batch_size: int) -> int:
    """Return the bytes that a training step needs.

    These are the weights, their gradients and averages, the optimizer's state, and the tensors that
    autograd saves for the backward pass.
    """
    network = parts.task.network.train()
    weights = list(network.parameters())
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(torch.empty(batch_size, *parts.data.contents.image_shape, device="meta"))
    del logits
    for tensor in network.state_dict().values():
        kept.pop(tensor.untyped_storage()._cdata, None)
    copies = 2 + sum(isinstance(callback, WeightAveraging) for callback in parts.callbacks)
    return sum(kept.values()) + copies * tensor_bytes(weights) + _optimizer_bytes(parts, weights)


def _optimizer_bytes(parts: RunComponents, weights: list[nn.Parameter]) -> int:
    optimizer = parts.task.make_optimizer(iter(weights))
    try:
        for weight in weights:
            weight.grad = torch.empty_like(weight)
        optimizer.step()
    except (RuntimeError, TypeError, NotImplementedError):
        return 0  # an optimizer that can't run on the meta device; the rest still counts
    finally:
        for weight in weights:
            weight.grad = None
    return tensor_bytes(value for state in optimizer.state.values() for value in state.values())


def evaluation_bytes(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the bytes that an evaluation step needs.

    These are the weights, and the inputs and outputs of the layer that needs the most for them.
    """
    most = 0

    def look(module: nn.Module, given: Any, made: Any) -> None:
        nonlocal most
        most = max(most, tensor_bytes([*given, made]))

    network.eval()
    hooks = [m.register_forward_hook(look) for m in network.modules() if not list(m.children())]
    with torch.no_grad():
        network(torch.empty(shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return most + tensor_bytes(network.state_dict().values())


def tensor_bytes(values: Any) -> int:
    """Return the number of bytes of those values that are tensors."""
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, Tensor))


def _gpu_memory() -> int:
    if not torch.cuda.is_available():
        return machine.memory()  # Apple's GPUs share the machine's memory
    return int(torch.cuda.get_device_properties(0).total_memory)


def _largest(parts: RunComponents, batch_matters: bool) -> tuple[str, object]:
    """Return the key and value of the setting that takes the most memory.

    It is the largest of the network's numbers; with `batch_matters` the batch sizes count as well.
    """
    settings, of_a_library = (
        parts.settings["model"],
        isinstance(parts.task.network, FineTunedNetwork),
    )
    sizes = {f"model.{k}": v for k, v in settings.items() if type(v) in (int, float)}
    if of_a_library:  # its size follows from its name
        sizes = {}
    if batch_matters:
        sizes |= {f"data.{k}": getattr(parts.data, k) for k in ("batch_size", "eval_batch_size")}
    if not sizes and of_a_library:
        return "model.name", settings["name"]
    if not sizes:
        return "model", settings.get("_target_")
    key = max(sizes, key=lambda key: sizes[key])
    return key, sizes[key]
