"""A checkpoint file: what `torch.save` writes, with a SHA-256 of it in the archive's comment, where `torch.load` does not mind it.

Plain values only (tensors, numbers, text, lists, dicts): a file can't run code. torch's own reader notices neither a flipped bit
nor a file that a full disk cut short; the digest does.
"""

import hashlib
import io
import os
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO
from torch import Tensor, nn

from tunebook.checks import InputError
from tunebook.runfolder import write_atomically

Content = dict[str, Any]

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
MARK = b"tunebook sha256 "
COMMENT_BYTES = len(MARK) + 64
# The record at a zip archive's end: its signature, its length, and (its last two bytes) the length of the comment that follows.
END, END_BYTES = b"PK\x05\x06", 22
SHOWN = 3  # differences named in a message


class CheckpointError(InputError):
    """A file that is no checkpoint, is damaged, or does not fit. Its text is one line for a user."""


def encode(content: Content) -> bytes:
    """The bytes of a checkpoint file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    assert data[-END_BYTES:].startswith(END), "torch.save writes no comment of its own"
    data = data[:-2] + struct.pack("<H", COMMENT_BYTES)
    return data + MARK + hashlib.sha256(data).hexdigest().encode()


def decode(data: bytes, name: str) -> Content:
    """What a checkpoint file holds. CheckpointError where a bit is not as it was written, or anything but plain values is in it."""
    body, comment = data[:-COMMENT_BYTES], data[-COMMENT_BYTES:]
    if not comment.startswith(MARK):
        raise CheckpointError(f"{name}: is no checkpoint of Tunebook, or was cut short")
    if comment[len(MARK) :] != hashlib.sha256(body).hexdigest().encode():
        raise CheckpointError(f"{name}: is damaged: its contents do not have the digest that they were written with")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # True overrules torch's environment variable
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{name}: holds more than plain values, and is not opened ({type(error).__name__})") from None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{name}: holds no weights")
    return content


def write(path: Path, content: Content, keep: Path | None = None) -> None:
    """Replaces `path` as a whole or leaves it as it is. keep: the name that the file of before gets. OSError as the disk says."""
    write_atomically(path, encode(content), keep)


def read(path: Path) -> Content:
    """What the file holds, verified. CheckpointError, also where there is no such file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    return decode(data, str(path))


def newest(folder: Path) -> tuple[Path, Content, list[str]]:
    """The newest checkpoint in a run's `checkpoints/` that is whole, what it holds, and a line for each that is not.

    CheckpointError where none is.
    """
    problems: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            return path, read(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError(f"{folder}: holds no checkpoint to go on from" + "".join(f"; {problem}" for problem in problems))


def load_weights(module: nn.Module, content: Content, name: str) -> None:
    """Puts a checkpoint's weights into `module`. CheckpointError where they are another network's, naming what differs."""
    weights: Mapping[str, Tensor] = content["state_dict"]
    expected = module.state_dict()
    differences = [f"{key} is {_shape(weights.get(key))} there and {_shape(expected.get(key))} here" for key in {**expected, **weights}
                   if _shape(weights.get(key)) != _shape(expected.get(key))]  # fmt: skip
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise CheckpointError(f"{name}: holds another network: {'; '.join(differences[:SHOWN])}{more}")
    module.load_state_dict(weights)


def _shape(tensor: object) -> str:
    return str(tuple(tensor.shape)) if isinstance(tensor, Tensor) else "missing"


def sweep(folder: Path) -> None:
    """Removes what a kill in the middle of a save has left."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)


class VerifiedCheckpoints(CheckpointIO):
    """How Lightning writes and reads checkpoints here. `last.ckpt` leaves the one before it as `previous.ckpt`.

    resumed: a checkpoint that has been read already, which Lightning is given whatever path it asks for.
    """

    def __init__(self, resumed: Content | None = None) -> None:
        self.resumed = resumed
        self.problem = ""  # why the last save failed; the file of before is then as it was

    def save_checkpoint(self, checkpoint: Content, path: Any, storage_options: Any = None) -> None:
        """Says in `problem` what the disk says: other devices' processes wait for this one, whatever happens to it."""
        path = Path(path)
        try:
            write(path, checkpoint, keep=path.with_name(PREVIOUS) if path.name == LAST else None)
            self.problem = ""
        except OSError as error:
            self.problem = str(error.strerror or error)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Content:
        """Verified, and plain values only, whatever is asked for."""
        return read(Path(path)) if self.resumed is None else self.resumed

    def remove_checkpoint(self, path: Any) -> None:
        """Removes the file."""
        os.unlink(path)
