"""Read image files, and check that the table of predictions may be written.

The files are not trusted: only regular files up to a certain size are opened, and only by decoders
of common raster formats. This module does not import torch.
"""

import os
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tunebook.config.paths import why_unwritable
from tunebook.config.validation import InputError, SettingError, format_value
from tunebook.text_output import printable

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
# Pillow's formats whose decoders do not start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
# Pillow's modes of 16-bit grey images. Pillow's own conversion to 8 bits would clip their values.
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
MAX_PIXELS = 100_000_000
KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def image_files(name: str) -> list[Path]:
    """Return the file `name`, or every file in the folder `name` that has an image's suffix.

    Whether they can be read is not checked. Raises SettingError if there is none.
    """
    path, found = Path(name), []
    try:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
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
            "images", printable(name), f"is a folder without image files ({' '.join(ENDINGS)})"
        )
    return found


def kind_of_special_file(mode: int) -> str:
    """Return the kind of a special file as text for a user, or "" for a regular file."""
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no regular file")


def read_image(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return an image as an array (H, W, C) of 0 to 255, scaled to the requested size.

    The first frame of an animation is read. A photo is rotated as its EXIF data say. Raises
    InputError if the file is not a readable image; its text is only the reason.
    shape: (C, H, W), the network's input.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind := kind_of_special_file(os.fstat(file.fileno()).st_mode):
                raise InputError(f"is {kind}, not an image file")
            with Image.open(file, formats=FORMATS) as opened:
                return scaled(opened, shape)
    except InputError:
        raise
    except OSError as error:
        raise InputError(_reason(error.strerror or str(error))) from None
    except Exception as error:  # decoders may raise anything on a malformed file
        raise InputError(_reason(str(error) or type(error).__name__)) from None


def scaled(opened: Image.Image, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return an image as an array (H, W, C) of 0 to 255, scaled to the size that is asked for.

    shape: (C, H, W). Raises InputError for an image that is too large or of unknown brightness.
    """
    channels, height, width = shape
    if opened.width * opened.height > MAX_PIXELS:
        raise InputError(f"has {opened.width} x {opened.height} pixels, more than {MAX_PIXELS:,}")
    mode = "L" if channels == 1 else "RGB"
    image = _in_8_bits(ImageOps.exif_transpose(opened)).convert(mode)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8).reshape(height, width, channels)


def pixels_of(
    images: Any, shape: tuple[int, int, int]
) -> tuple[list[str], list[npt.NDArray[np.uint8]]]:
    """Return a name and the pixels (H, W, C), 0 to 255, of each image.

    images: a file, a folder, an image of PIL, or a list of files, of such images or of arrays.
    shape: (C, H, W). Raises InputError for an image that can't be read.
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
            pixels.append(
                read_image(Path(image), shape) if is_file else scaled(_as_image(image), shape)
            )
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


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file without blocking, because a pipe would wait for a process that writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _reason(text: str) -> str:
    if "cannot identify" in text:
        text = "none of " + ", ".join(FORMATS)
    return f"can't be read as an image ({printable(' '.join(text.split()))[:200]})"


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return a 16-bit grey image with 8 bits, and any other image as it is.

    Raises InputError for pixels whose range is not known.
    """
    if image.mode not in (*WIDE, "F"):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise InputError(
            "has pixels of 32 bits, whose black and white are not known; save it with 8 or 16 bits"
        )
    return Image.fromarray((values // 257).astype(np.uint8))


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
