"""Decode image files and resize the images for a network.

The files are not trusted: only regular files up to a certain size are opened, and only by decoders
of common raster formats. This module does not import torch.
"""

import os
import stat
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tunebook.config.validation import InputError
from tunebook.text_output import printable

# Pillow's formats whose decoders do not start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
# The suffixes by which files in a folder are taken for images.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
# Pillow's modes of 16-bit grey images. Pillow's own conversion to 8 bits would clip their values.
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
MAX_PIXELS = 100_000_000
KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def kind_of_special_file(mode: int) -> str:
    """Return the kind of a special file as text for a user, or "" for a regular file."""
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no regular file")


def read_image(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return an image as an array (H, W, C) of 0 to 255, resized as the network needs it.

    The first frame of an animation is read. A photo is rotated as its EXIF data say. Raises
    InputError if the file is not a readable image; its text is only the reason.
    shape: (C, H, W), the network's input.
    """
    try:
        with open(path, "rb", opener=open_without_waiting) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind := kind_of_special_file(os.fstat(file.fileno()).st_mode):
                raise InputError(f"is {kind}, not an image file")
            with Image.open(file, formats=FORMATS) as opened:
                return resized(opened, shape)
    except InputError:
        raise
    except OSError as error:
        raise InputError(_reason(error.strerror or str(error))) from None
    except Exception as error:  # decoders may raise anything on a malformed file
        raise InputError(_reason(str(error) or type(error).__name__)) from None


def resized(opened: Image.Image, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return an image as an array (H, W, C) of 0 to 255, resized as the network needs it.

    shape: (C, H, W). Raises InputError for an image that is too large or of unknown brightness.
    """
    channels, height, width = shape
    if opened.width * opened.height > MAX_PIXELS:
        raise InputError(f"has {opened.width} x {opened.height} pixels, more than {MAX_PIXELS:,}")
    mode = "L" if channels == 1 else "RGB"
    image = in_8_bits(ImageOps.exif_transpose(opened)).convert(mode)
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.uint8).reshape(height, width, channels)


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file without blocking, because a pipe would wait for a process that writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _reason(text: str) -> str:
    if "cannot identify" in text:
        text = "none of " + ", ".join(FORMATS)
    return f"can't be read as an image ({printable(' '.join(text.split()))[:200]})"


def in_8_bits(image: Image.Image) -> Image.Image:
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
