"""Reads images from outside, and says where the table of what they show may be written. Imports no torch.

Files are not trusted: only regular ones are opened, only by decoders of common raster formats, and only up to a size.
"""

import os
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tunebook.checks import InputError, SettingError, shown
from tunebook.paths import why_unwritable
from tunebook.text_output import printable

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "GIF",
    "WEBP",
    "TIFF",
    "PPM",
)  # of Pillow's: no decoder that starts another program
WIDE = (
    "I",
    "I;16",
    "I;16B",
    "I;16L",
    "I;16N",
)  # modes of 16-bit grey images, which Pillow's own conversion would clip
MOST_PIXELS = 100_000_000
KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def image_files(name: str) -> list[Path]:
    """Return the files that are meant: `name` itself, or all in a folder that are named like images, readable or not.

    SettingError where there is none.
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
    """Return what a file is that is not a regular one, in words; "" for a regular one."""
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no regular file")


def read_image(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return an image as (H, W, C) of 0 to 255, scaled to the shape (C, H, W) that the network takes.

    Of an animation the first picture is taken, and a photo is turned as its camera says. Raises InputError,
    with the reason alone, where the file is no image that can be read.
    """
    channels, height, width = shape
    try:
        with open(path, "rb", opener=_open_without_waiting) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind := kind_of_special_file(os.fstat(file.fileno()).st_mode):
                raise InputError(f"is {kind}, not an image file")
            with Image.open(file, formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise InputError(
                        f"has {opened.width} x {opened.height} pixels, more than {MOST_PIXELS:,}"
                    )
                image = _in_8_bits(ImageOps.exif_transpose(opened)).convert(
                    "L" if channels == 1 else "RGB"
                )
                scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    except InputError:
        raise
    except OSError as error:
        raise InputError(_reason(error.strerror or str(error))) from None
    except Exception as error:  # whatever a decoder raises on a file that is not what it says
        raise InputError(_reason(str(error) or type(error).__name__)) from None
    return np.asarray(scaled, dtype=np.uint8).reshape(height, width, channels)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; opening a pipe would otherwise wait for whoever writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _reason(text: str) -> str:
    if "cannot identify" in text:
        text = "none of " + ", ".join(FORMATS)
    return f"can't be read as an image ({printable(' '.join(text.split()))[:200]})"


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits in 8. InputError for pixels whose range is not known."""
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
    """Return whether an image is this file. One that cannot be found out about is none."""
    try:
        return path == image.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return False


def _is_table(path: Path) -> bool:
    """Return whether a file is empty, or begins like a table that predict wrote."""
    with path.open("rb") as file:
        start = file.read(64)
    return not start or start.startswith(",".join(TABLE).encode() + b",")


def check_output(name: str, images: Sequence[Path]) -> Path:
    """Return the file that `output` names, links followed.

    SettingError where it can't be written, or writing it would replace anything but an earlier table.
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
        reason = getattr(error, "strerror", None) or shown(printable(str(error)))
        raise SettingError("output", printable(name), f"can't be written: {reason}") from None
    return path
