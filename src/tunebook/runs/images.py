"""Find the images to classify, and check that the table of predictions may be written.

This module does not import torch, because its checks come before that.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tunebook.config.paths import why_unwritable
from tunebook.config.validation import InputError, SettingError, format_value
from tunebook.data.decoding import SUFFIXES, kind_of_special_file
from tunebook.text_output import printable

if TYPE_CHECKING:
    from tunebook.data.preprocessing import Preprocessing


def image_files(name: str) -> list[Path]:
    """Return the file `name`, or every file in the folder `name` that has an image's suffix.

    Whether they can be read is not checked. Raises SettingError if there is none.
    """
    path, found = Path(name), []
    try:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        elif kind := kind_of_special_file(path.stat().st_mode):
            raise SettingError("images", printable(name), f"is {kind}, not an image file")
        else:
            return [path]
    except (OSError, ValueError) as error:
        raise SettingError(
            "images", printable(name), f"can't be read ({getattr(error, 'strerror', error)})"
        ) from None
    if not found:
        raise SettingError(
            "images", printable(name), f"is a folder without image files ({' '.join(SUFFIXES)})"
        )
    return found


def pixels_of(
    images: Any, preprocessing: "Preprocessing"
) -> tuple[list[str], list[npt.NDArray[np.uint8]]]:
    """Return a name and the pixels (H, W, C), 0 to 255, of each image.

    images: a file, a folder, an image of PIL, or a list of files, of such images or of arrays.
    Raises InputError for an image that can't be read.
    """
    if isinstance(images, str | Path):
        images = image_files(str(images))
    elif isinstance(images, Image.Image):
        images = [images]
    names: list[str] = []
    pixels: list[npt.NDArray[np.uint8]] = []
    for number, image in enumerate(images):
        is_file = isinstance(image, str | Path)
        names.append(str(image) if is_file else str(number))
        try:
            if is_file:
                pixels.append(preprocessing.read(Path(image)))
            else:
                pixels.append(preprocessing.fit_image(_as_image(image)))
        except InputError as error:
            raise InputError(f"images: {names[-1]}: {error}") from None
    if not pixels:
        raise SettingError("images", "", "is required: at least one image")
    return names, pixels


def _as_image(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise InputError(
            f"is an array of {pixels.dtype} with shape {pixels.shape}; "
            "allowed: uint8, (H, W) or (H, W, C)"
        )
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


TABLE = ("image", "class")  # the first columns of what predict writes


def _is_same(path: Path, image: Path) -> bool:
    """Return whether an image is this file; False if the image's path can't be resolved."""
    try:
        return path == image.resolve()
    except (OSError, RuntimeError):  # such as a loop of symbolic links
        return False


def _is_table(path: Path) -> bool:
    """Return whether a file is empty, or begins like a table written by predict."""
    with path.open("rb") as file:
        start = file.read(64)
    return not start or start.startswith(",".join(TABLE).encode() + b",")


def check_output(name: str, images: Sequence[Path]) -> Path:
    """Return the file that `output` names, with symbolic links resolved.

    Raises SettingError if it can't be written, or if writing it would replace a file that is not a
    table of predictions.
    """
    try:
        path = Path(name).resolve()
        mode = path.stat().st_mode if path.exists() else None
        if mode is not None and (kind := kind_of_special_file(mode)):
            raise SettingError("output", printable(name), f"is {kind}; give a file's name")
        if not path.parent.is_dir():
            raise SettingError("output", printable(name), "its folder is not there")
        if any(_is_same(path, image) for image in images):
            raise SettingError("output", printable(name), "is one of the images")
        if mode is not None and not _is_table(path):
            raise SettingError(
                "output", printable(name), "is a file that predict did not write; give another name"
            )
        if (reason := why_unwritable(path.parent)) or (
            mode is not None and not os.access(path, os.W_OK)
        ):
            raise SettingError(
                "output", printable(name), f"can't be written: {reason or 'Permission denied'}"
            )
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, SettingError):
            raise
        reason = getattr(error, "strerror", None) or format_value(printable(str(error)))
        raise SettingError("output", printable(name), f"can't be written: {reason}") from None
    return path
