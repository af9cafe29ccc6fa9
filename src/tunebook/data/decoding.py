"""Decode image files.

The files are not trusted: only regular files up to a certain size are opened, and only by decoders
of common raster formats. This module does not import torch.
"""

import contextlib
import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from tunebook.config.validation import InputError
from tunebook.text_output import printable

# Pillow's formats whose decoders do not start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
# The suffixes by which files in a folder are taken for images.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
# Pillow's modes of 16-bit grey images. Pillow's own conversion to 8 bits would clip their values.
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
MAX_PIXELS = 100_000_000
MAX_BYTES = 2**29
NO_MEMORY = "needs more memory than there is"
GREY = (*WIDE, "1", "L", "LA", "La")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations of a photo whose width and height are exchanged
KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def kind_of_special_file(mode: int) -> str:
    """Return the kind of a special file as text for a user, or "" for a regular file."""
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no regular file")


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a regular file; raise InputError, whose text is only the reason."""
    return read_with_status(path)[0]


def read_with_status(path: str | Path) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file, and its status before they were read.

    Raises InputError, whose text is only the reason.
    """
    try:
        with open(path, "rb", buffering=0, opener=open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if kind := kind_of_special_file(status.st_mode):
                raise InputError(f"is {kind}, not an image file")
            if status.st_size > MAX_BYTES:
                raise InputError(f"has {status.st_size:,} bytes, more than {MAX_BYTES:,}")
            return file.readall(), status
    except OSError as error:
        raise InputError(f"can't be opened ({error.strerror or error})") from None


def decode(data: bytes, channels: int) -> npt.NDArray[np.uint8]:
    """Return the image in the bytes of a file as an array (H, W, C) of 0 to 255.

    The first frame of an animation is decoded. A photo is rotated as its EXIF data say. Raises
    InputError if it is not a readable image; its text is only the reason.
    channels: 1 for grey, 3 for RGB; the image is converted.
    """
    with (
        ignoring_warnings(),
        _giving_reasons(),
        Image.open(io.BytesIO(data), formats=FORMATS) as opened,
    ):
        return pixels_of(opened, channels)


def examine(data: bytes) -> tuple[int, int, int]:
    """Return the width, the height and the channels of the image in the bytes of a file.

    Width and height are those after EXIF rotation. The channels are 1 if the image's mode, or each
    colour of its palette, is grey, and 3 otherwise. The whole image is decoded, so that damage is
    found. Raises InputError where `decode` does.
    """
    with (
        ignoring_warnings(),
        _giving_reasons(),
        Image.open(io.BytesIO(data), formats=FORMATS) as opened,
    ):
        _require_size(opened)
        whole = opened.size
        channels = 1 if opened.mode in GREY else 3
        # A JPEG file is decoded to an eighth of its size. All its data are still read.
        is_reduced = opened.draft("L", (1, 1)) is not None
        turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in SIDEWAYS
        width, height = _converted(opened, 1).size
        if is_reduced:
            width, height = whole[::-1] if turned else whole
        if opened.mode in ("P", "PA") and opened.palette is not None:
            colors = np.array(opened.getpalette("RGB")).reshape(-1, 3)
            channels = 1 if (colors == colors[:, :1]).all() else 3
    return width, height, channels


def decode_small(data: bytes, side: int) -> Image.Image:
    """Return the image (RGB) in the bytes of a file, large enough to be reduced to a small one.

    A JPEG file is decoded at a fraction of its size, which is several times faster: at least twice
    `side` pixels where it has so many. Raises InputError where `decode` does. May be called in
    several threads at once; the caller ignores Pillow's warnings.
    """
    with _giving_reasons(), Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        _require_size(opened)
        opened.draft(None, (2 * side, 2 * side))
        return _in_8_bits(ImageOps.exif_transpose(opened)).convert("RGB")


_is_ignoring = False  # whether such a block is open; changing the filters takes microseconds


@contextlib.contextmanager
def ignoring_warnings() -> Iterator[None]:
    """Ignore warnings in the block, such as Pillow's about EXIF data, in every thread.

    It does nothing in another thread than the main one: the filters of warnings belong to the
    process, and threads that change them at the same time would leave them changed. So the main
    thread enters such a block before it starts threads that decode images.
    """
    global _is_ignoring
    if _is_ignoring or threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _is_ignoring = True
        try:
            yield
        finally:
            _is_ignoring = False


@contextlib.contextmanager
def _giving_reasons() -> Iterator[None]:
    """Turn what a decoder raises into InputError, whose text is the reason."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(NO_MEMORY) from None
    except Exception as error:  # decoders may raise anything on a malformed file
        raise InputError(_reason(str(error) or type(error).__name__)) from None


def pixels_of(opened: Image.Image, channels: int) -> npt.NDArray[np.uint8]:
    """Return an image of PIL as an array (H, W, C) of 0 to 255.

    Transparency is dropped, as torchvision and timm do, and not shown on a background.
    channels: 1 for grey, 3 for RGB. Raises InputError for an image that is too large or of unknown
    brightness.
    """
    image = _converted(opened, channels)
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)


def _converted(opened: Image.Image, channels: int) -> Image.Image:
    """Return an image as `pixels_of` needs it; raise InputError where that does."""
    _require_size(opened)
    mode = "L" if channels == 1 else "RGB"
    # Without needless copies, which take as long as decoding a small image.
    opened.load()
    ImageOps.exif_transpose(opened, in_place=True)
    image = _in_8_bits(opened)
    return image if image.mode == mode else image.convert(mode)


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file without blocking, because a pipe would wait for a process that writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _require_size(opened: Image.Image) -> None:
    if opened.width * opened.height > MAX_PIXELS:
        raise InputError(f"has {opened.width} x {opened.height} pixels, more than {MAX_PIXELS:,}")


def _reason(text: str) -> str:
    if "truncated" in text.lower():
        return "is truncated"
    if bomb := re.match(r"Image size \((\d+) pixels\) exceeds", text):
        return f"has {int(bomb[1]):,} pixels, more than {MAX_PIXELS:,}"
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
