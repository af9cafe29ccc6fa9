"""Read and write checkpoint files, whose content is verified by a digest.

A file is what `torch.save` writes, with its SHA-256 in the zip archive's comment, which
`torch.load` ignores. It holds only plain values (tensors, numbers, text, lists and dicts), so that
loading it can't run code. torch's own reader detects neither a flipped bit nor a file that was
truncated by a full disk; the digest detects both.
"""

import hashlib
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning_fabric.plugins import CheckpointIO
from torch import Tensor, nn

from tunebook.config.validation import InputError
from tunebook.run_folder import LAST, PREVIOUS, write_atomically
from tunebook.untrusted import open_regular

Content = dict[str, Any]

MARK = b"tunebook sha256 "
COMMENT_BYTES = len(MARK) + 64
# The record at a zip archive's end: its signature and its length. Its last two bytes are the length
# of the comment that follows.
END, END_BYTES = b"PK\x05\x06", 22
SHOWN = 3  # differences named in a message


class CheckpointError(InputError):
    """Report a file that is not a checkpoint, is damaged, or does not fit the run.

    The text is one line for a user.
    """


def encode(content: Content) -> bytes:
    """Return the bytes of a checkpoint file with this content."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    assert data[-END_BYTES:].startswith(END), "torch.save writes no comment of its own"
    data = data[:-2] + struct.pack("<H", COMMENT_BYTES)
    return data + MARK + hashlib.sha256(data).hexdigest().encode()


def decode(data: bytes, name: str) -> Content:
    """Return the content of a checkpoint file.

    Raises CheckpointError if the file is not as it was written, or contains more than plain values.
    name: the file's name for the error's text.
    """
    body, comment = data[:-COMMENT_BYTES], data[-COMMENT_BYTES:]
    if not comment.startswith(MARK):
        raise CheckpointError(f"{name}: is not a Tunebook checkpoint, or is truncated")
    if comment[len(MARK) :] != hashlib.sha256(body).hexdigest().encode():
        raise CheckpointError(f"{name}: is damaged: its content does not match its digest")
    _require_uncompressed(data, name)
    try:
        # True takes precedence over torch's environment variable.
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{name}: contains more than plain values, so it is not opened ({type(error).__name__})"
        ) from None
    except Exception as error:  # in an untrusted file, anything may be missing or wrong
        raise CheckpointError(f"{name}: can't be read ({type(error).__name__})") from None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{name}: contains no weights")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and is_plain_tensor(weights[key]) for key in weights
    ):
        raise CheckpointError(f"{name}: its state_dict has unexpected content")
    return content


def _require_uncompressed(data: bytes, name: str) -> None:
    """Raise CheckpointError if the archive would unpack to more than its own size.

    torch stores the archive's files uncompressed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise CheckpointError(f"{name}: can't be read ({type(error).__name__})") from None
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or sum(entry.file_size for entry in entries) > len(data):
        raise CheckpointError(f"{name}: is compressed, which torch.save never does")


def is_plain_tensor(value: object) -> bool:
    """Return whether a value is a dense CPU tensor whose storage holds all of its elements."""
    if (
        not isinstance(value, Tensor)
        or value.layout != torch.strided
        or value.device.type != "cpu"
        or value.is_quantized
    ):
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def write(path: Path, content: Content, keep: Path | None = None) -> None:
    """Write a checkpoint file atomically: `path` is either replaced or left unchanged.

    keep: the new name of the file that it replaces. Raises OSError if it can't be written.
    """
    write_atomically(path, encode(content), keep)


def read(path: Path) -> Content:
    """Return the verified content of a checkpoint file.

    Raises CheckpointError if it can't be used or does not exist.
    """
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - COMMENT_BYTES))
            # The digest's mark is checked before the whole file, which may be of any size, is read.
            if not file.read().startswith(MARK):
                raise CheckpointError(f"{path}: is not a Tunebook checkpoint, or is truncated")
            if size > psutil.virtual_memory().available:
                raise CheckpointError(f"{path}: is larger than the free memory")
            file.seek(0)
            data = file.read()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or 'is not a regular file'}") from None
    return decode(data, str(path))


def newest(
    folder: Path, require: Callable[[Content, str], None] | None = None
) -> tuple[Path, Content, list[str]]:
    """Return the newest usable checkpoint in a run's `checkpoints/`, its content, and problems.

    The problems are one line for each newer checkpoint that can't be used.
    require: a function that raises CheckpointError if a content can't be used.
    Raises CheckpointError if no checkpoint can be used.
    """
    problems: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not os.path.lexists(path):
            continue
        try:
            content = read(path)
            if require is not None:
                require(content, str(path))
            return path, content, problems
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError(
        f"{folder}: has no checkpoint to resume from"
        + "".join(f"; {problem}" for problem in problems)
    )


def require_same_network(module: nn.Module, content: Content, name: str) -> None:
    """Raise CheckpointError if a checkpoint's weights don't fit `module`, naming what differs.

    name: the checkpoint's name for the error's text.
    """
    weights: Mapping[str, Tensor] = content["state_dict"]
    expected = module.state_dict()
    differences = [
        f"{key} is {_shape(weights.get(key))} there and {_shape(expected.get(key))} here"
        for key in {**expected, **weights}
        if _shape(weights.get(key)) != _shape(expected.get(key))
    ]
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise CheckpointError(
            f"{name}: contains another network: {'; '.join(differences[:SHOWN])[:300]}{more}"
        )
    for key, value in expected.items():
        if weights[key].dtype != value.dtype:
            raise CheckpointError(
                f"{name}: its {key} is {weights[key].dtype} there and {value.dtype} here"
            )


def load_weights(module: nn.Module, content: Content, name: str) -> None:
    """Load a checkpoint's weights into `module`.

    Raises CheckpointError if they belong to another network, and names what differs.
    """
    require_same_network(module, content, name)
    module.load_state_dict(content["state_dict"])


def _shape(tensor: object) -> str:
    return str(tuple(tensor.shape)) if isinstance(tensor, Tensor) else "missing"


def remove_partial_files(folder: Path) -> None:
    """Remove the unfinished files of saves during which the process was killed."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)


class VerifiedCheckpoints(CheckpointIO):
    """Make Lightning write and read checkpoints with a digest.

    A new `last.ckpt` leaves the one before it as `previous.ckpt`.
    resumed: the content that Lightning gets when it loads a checkpoint, whatever the path.
    """

    def __init__(self, resumed: Content | None = None) -> None:
        self.resumed = resumed
        self.problem = ""  # why the last save failed; then the file before it is unchanged

    def save_checkpoint(self, checkpoint: Content, path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, and put the error of a failed write into `problem`.

        The error is not raised, because the processes of other devices wait for this one.
        """
        path = Path(path)
        try:
            write(path, checkpoint, keep=path.with_name(PREVIOUS) if path.name == LAST else None)
            self.problem = ""
        except OSError as error:
            self.problem = str(error.strerror or error)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> Content:
        """Return verified content of plain values, whatever `weights_only` is."""
        return read(Path(path)) if self.resumed is None else self.resumed

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the file."""
        os.unlink(path)
