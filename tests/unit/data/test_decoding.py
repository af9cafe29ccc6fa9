"""Every kind of picture is decoded as people expect, and examined without being kept."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tunebook.config.validation import InputError
from tunebook.data.decoding import decode, examine

RED, GREEN, WHITE, BLACK, GREY = (255, 0, 0), (0, 255, 0), (255,) * 3, (0,) * 3, (128,) * 3


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(mode: str, left: Any, right: Any) -> Image.Image:
    """Return an image of 16 x 8 pixels with a colour in each half."""
    image = Image.new(mode, (16, 8), left)
    image.paste(right, (8, 0, 16, 8))
    return image


def palette(*colors: tuple[int, ...]) -> Image.Image:
    image = halves("P", 0, 1)
    image.putpalette([value for color in colors for value in color])
    return image


def wide(low: int, high: int, kind: type = np.uint16) -> Image.Image:
    values = np.full((8, 16), low, kind)
    values[:, 8:] = high
    return Image.fromarray(values)


# A file, its channels, and the colours of its halves.
PICTURES = {
    "RGB": (encoded(halves("RGB", RED, GREEN), "PNG"), 3, RED, GREEN),
    "grey": (encoded(halves("L", 0, 128), "PNG"), 1, BLACK, GREY),
    "1 bit": (encoded(halves("1", 0, 1), "PNG"), 1, BLACK, WHITE),
    "1 bit TIFF": (encoded(halves("1", 0, 1), "TIFF"), 1, BLACK, WHITE),
    "grey with alpha": (encoded(halves("LA", (128, 0), (255, 9)), "PNG"), 1, GREY, WHITE),
    # Transparency is dropped: what is under it counts.
    "RGBA": (encoded(halves("RGBA", (*RED, 0), (*GREEN, 99)), "PNG"), 3, RED, GREEN),
    "palette": (encoded(palette(RED, GREEN), "PNG"), 3, RED, GREEN),
    "grey palette": (encoded(palette(BLACK, GREY), "PNG"), 1, BLACK, GREY),
    "transparent colour": (encoded(palette(RED, GREEN), "PNG", transparency=0), 3, RED, GREEN),
    "transparent colours": (encoded(palette(RED, GREEN), "PNG", transparency=b"\0\x80"), 3, RED,
                            GREEN),
    "GIF": (encoded(palette(RED, GREEN), "GIF"), 3, RED, GREEN),
    "transparent GIF": (encoded(palette(RED, GREEN), "GIF", transparency=1), 3, RED, GREEN),
    "grey GIF": (encoded(halves("L", 0, 128), "GIF"), 1, BLACK, GREY),
    "first frame": (encoded(palette(RED, GREEN), "GIF", save_all=True,
                            append_images=[palette(GREEN, RED)]), 3, RED, GREEN),
    "16 bits": (encoded(wide(128 * 257, 65535), "PNG"), 1, GREY, WHITE),
    "16 bits TIFF": (encoded(wide(0, 128 * 257), "TIFF"), 1, BLACK, GREY),
    "16 bits PGM": (encoded(wide(0, 65535), "PPM"), 1, BLACK, WHITE),
    "32 bits": (encoded(wide(0, 128 * 257, np.int32), "TIFF"), 1, BLACK, GREY),
    "JPEG": (encoded(halves("RGB", RED, GREEN), "JPEG", quality=100), 3, RED, GREEN),
    "grey JPEG": (encoded(halves("L", 0, 128), "JPEG"), 1, BLACK, GREY),
    "CMYK": (encoded(halves("CMYK", (0, 255, 255, 0), (0, 0, 0, 127)), "JPEG", quality=100), 3,
             RED, GREY),
    "CMYK TIFF": (encoded(halves("CMYK", (0, 255, 255, 0), (0, 0, 0, 0)), "TIFF"), 3, RED, WHITE),
    "WebP": (encoded(halves("RGB", RED, GREEN), "WEBP", lossless=True), 3, RED, GREEN),
    "BMP": (encoded(halves("RGB", RED, GREEN), "BMP"), 3, RED, GREEN),
    "PPM": (encoded(halves("RGB", RED, GREEN), "PPM"), 3, RED, GREEN),
    "LZW": (encoded(halves("RGB", RED, GREEN), "TIFF", compression="tiff_lzw"), 3, RED, GREEN),
}  # fmt: skip


@pytest.mark.parametrize("kind", PICTURES)
def test_colours_of_every_kind_of_picture(kind: str) -> None:
    data, channels, left, right = PICTURES[kind]
    pixels = decode(data, 3).astype(int)
    assert np.abs(pixels[:, :7] - left).max() <= 3
    assert np.abs(pixels[:, 9:] - right).max() <= 3
    grey = decode(data, 1)
    assert grey.shape == (8, 16, 1)
    assert (
        abs(int(grey[0, 0, 0]) - Image.new("RGB", (1, 1), left).convert("L").getpixel((0, 0))) < 4
    )
    assert examine(data) == (16, 8, channels)


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_photo_is_turned_as_its_camera_was_held(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (48, 24))
    image.paste(WHITE, (0, 0, 24, 12))  # the upper left quarter, before it is turned
    pixels = decode(data := encoded(image, kind, exif=exif), 3)
    upright = (24, 48) if orientation < 5 else (48, 24)
    assert pixels.shape == (*upright, 3)
    assert examine(data) == (upright[1], upright[0], 3)
    corners = [pixels[y, x, 0] > 128 for y, x in ((2, 2), (2, -3), (-3, -3), (-3, 2))]
    assert corners.index(True) == (0, 0, 1, 2, 3, 0, 1, 2, 3)[orientation]


def noise(mode: str) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (40, 51, 4), np.uint8)
    return Image.fromarray(values).convert(mode)


CUT = {
    "JPEG": encoded(noise("RGB"), "JPEG"),
    "grey JPEG": encoded(noise("L"), "JPEG"),
    "CMYK JPEG": encoded(noise("CMYK"), "JPEG"),
    "progressive JPEG": encoded(noise("RGB"), "JPEG", progressive=True),
    "JPEG with restarts": encoded(noise("RGB"), "JPEG", restart_marker_rows=1, subsampling=0),
    "PNG": encoded(noise("RGB"), "PNG"),
    "GIF": encoded(noise("P"), "GIF"),
    "WebP": encoded(noise("RGB"), "WEBP"),
    "BMP": encoded(noise("RGB"), "BMP"),
    "TIFF": encoded(noise("RGB"), "TIFF"),
    "PPM": encoded(noise("RGB"), "PPM"),
}


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(list(CUT)), kept=st.floats(0, 1))
def test_a_file_that_was_cut_off_is_found(kind: str, kept: float) -> None:
    data = CUT[kind]
    with pytest.raises(InputError) as refused:  # the last bytes may be a mark of the end
        examine(data[: int(kept * (len(data) - 30))])
    assert str(refused.value).isprintable()
    if kept > 0.5 and kind != "WebP":
        assert str(refused.value) == "is truncated"


def outcome(function: Any, *arguments: Any) -> str:
    try:
        function(*arguments)
    except InputError as error:
        return "refused" if str(error).isprintable() else str(error)
    return "accepted"


@settings(max_examples=250, deadline=None)
@given(
    kind=st.sampled_from(list(CUT)),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), max_size=5),
    kept=st.floats(0.3, 1),
)
def test_a_damaged_file_is_examined_and_decoded_with_the_same_outcome(
    kind: str, changes: list[tuple[int, bytes]], kept: float
) -> None:
    data = bytearray(CUT[kind])
    for place, content in changes:
        place %= len(data)
        data[place : place + len(content)] = content
    damaged = bytes(data[: int(kept * len(data))])
    assert outcome(examine, damaged) == outcome(decode, damaged, 1) == outcome(decode, damaged, 3)


def header_of_png(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    data[16:24] = width.to_bytes(4) + height.to_bytes(4)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    return bytes(data)


def float_tiff() -> bytes:
    return encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")


CANNOT_BE_DECODED = {
    "text": (b"a text", "can't be read as an image (none of PNG, JPEG, BMP, GIF, WEBP, TIFF, PPM)"),
    "20,000 x 20,000": (header_of_png(20_000, 20_000),
                        "has 400,000,000 pixels, more than 100,000,000"),
    "12,000 x 12,000": (header_of_png(12_000, 12_000),
                        "has 12000 x 12000 pixels, more than 100,000,000"),
    "huge PGM": (b"P5 60000 60000 255\n", "has 3,600,000,000 pixels, more than 100,000,000"),
    "float TIFF": (float_tiff(), "has pixels of 32 bits, whose black and white are not known"),
    "negative TIFF": (encoded(wide(-1, 5, np.int32), "TIFF"), "has pixels of 32 bits"),
    "ICO": (encoded(Image.new("L", (9, 9)), "ICO"), "none of PNG"),
    "PDF": (encoded(Image.new("L", (9, 9)), "PDF"), "none of PNG"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CANNOT_BE_DECODED)
def test_what_cannot_be_decoded(kind: str) -> None:
    data, said = CANNOT_BE_DECODED[kind]
    for function, arguments in ((examine, ()), (decode, (1,)), (decode, (3,))):
        with pytest.raises(InputError) as refused:
            function(data, *arguments)  # type: ignore[operator]
        assert said in str(refused.value)


def test_the_smallest_image() -> None:
    data = encoded(Image.new("RGB", (1, 1), RED), "PNG")
    assert examine(data) == (1, 1, 3)
    assert decode(data, 3).tolist() == [[list(RED)]]
