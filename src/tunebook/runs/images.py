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
from tunebook.data.class_folders import is_shown
from tunebook.data.decoding import SUFFIXES, kind_of_special_file
from tunebook.data.listing import natural_key
from tunebook.text_output import printable

if TYPE_CHECKING:
    from tunebook.data.preprocessing import Preprocessing


def image_files(name: str) -> list[Path]:
    """Return the file `name`, or every file with an image's suffix in the folder `name` or below.

    Symbolic links are followed, and hidden files and folders left out. A folder that can't be read
    is returned as if it were an image. Whether images can be read is not checked. Raises
    SettingError if there is none.
    """
    path, found = Path(name), []
    try:
        if path.is_dir():
            path.stat()
            found = _images_in(path)
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


def _images_in(top: Path) -> list[Path]:
    """Return the images in a folder and below it, each folder once.

    They are in the natural order of their paths: 2.png before 10.png.
    Raises OSError if the folder itself can't be read.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()  # so that loops of symbolic links end

    def add_unreadable(error: OSError) -> None:
        if error.filename == str(top):
            raise error
        found.append(Path(error.filename))

    for inside, folders, files in os.walk(top, onerror=add_unreadable, followlinks=True):
        status = os.stat(inside)
        if (identity := (status.st_dev, status.st_ino)) in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(filter(is_shown, folders))
        found += [
            Path(inside, file)
            for file in files
            if is_shown(file) and os.path.splitext(file)[1].lower() in SUFFIXES
        ]
    return sorted(found, key=lambda path: natural_key(str(path)))


def named_images(images: Any) -> tuple[list[str], list[Any]]:
    """Return a name and an object for each image: a path, an image of PIL or an array.

    images: a file, a folder, an image of PIL, or a list of files, of such images or of arrays.
    """
    if isinstance(images, str | Path):
        images = image_files(str(images))
    found = [images] if isinstance(images, Image.Image) else list(images)
    if not found:
        raise SettingError("images", "", "is required: at least one image")
    names = [
        str(image) if isinstance(image, str | Path) else str(number)
        for number, image in enumerate(found)
    ]
    return names, found


def pixels_of(image: Any, preprocessing: "Preprocessing") -> npt.NDArray[np.uint8]:
    """Return the pixels (H, W, C), 0 to 255, of a file, an image of PIL or an array.

    Raises InputError, whose text is only the reason, for an image that can't be read.
    """
    if isinstance(image, str | Path):
        return preprocessing.read(Path(image))
    return preprocessing.fit_image(_as_image(image))


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


def _is_same(status: os.stat_result, image: Path) -> bool:
    """Return whether an image is the file with this status; False if there is no such image."""
    try:
        return os.path.samestat(status, os.stat(image))
    except (OSError, ValueError):  # such as a loop of symbolic links
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
        status = path.stat() if path.exists() else None
        if status is not None and (kind := kind_of_special_file(status.st_mode)):
            raise SettingError("output", printable(name), f"is {kind}; give a file's name")
        if not path.parent.is_dir():
            raise SettingError("output", printable(name), "its folder is not there")
        if status is not None and any(_is_same(status, image) for image in images):
            raise SettingError("output", printable(name), "is one of the images")
        if status is not None and not _is_table(path):
            raise SettingError(
                "output", printable(name), "is a file that predict did not write; give another name"
            )
        if (reason := why_unwritable(path.parent)) or (
            status is not None and not os.access(path, os.W_OK)
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
