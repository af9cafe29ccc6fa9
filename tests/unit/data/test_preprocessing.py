"""Images get a network's size, colours and scale in one way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tunebook.data.preprocessing import NetworkForPixels, Preprocessing, mean_and_std

SIDES = st.integers(1, 80)


def image(height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(
        0, 256, (2, channels, height, width), dtype=torch.uint8, generator=generator
    )


@given(SIDES, SIDES, st.sampled_from(["squash", "crop", "pad"]), st.sampled_from([1, 3]))
def test_any_size_becomes_the_network_s(
    height: int, width: int, resize: str, channels: int
) -> None:
    preprocessing = Preprocessing((channels, 12, 20), resize)  # type: ignore[arg-type]
    fitted = preprocessing.fit(image(height, width))
    assert fitted.shape == (2, channels, 12, 20)
    assert fitted.dtype == torch.uint8


@given(SIDES, SIDES, st.sampled_from(["squash", "crop", "pad"]))
def test_an_image_of_the_right_size_is_not_changed(height: int, width: int, resize: str) -> None:
    preprocessing = Preprocessing((3, height, width), resize)  # type: ignore[arg-type]
    assert torch.equal(preprocessing.fit_any(image(height, width)), image(height, width))


def test_it_resizes_as_pil_does() -> None:
    (pixels,) = image(60, 90)[:1].permute(0, 2, 3, 1).numpy()
    expected = Image.fromarray(pixels).resize((20, 30), Image.Resampling.BILINEAR)
    found = Preprocessing((3, 30, 20)).fit_image(Image.fromarray(pixels))
    assert np.abs(found.astype(int) - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("resize", "rows", "is_white"),
    [("squash", (0, 7), (True, True)), ("crop", (0, 7), (True, True)),
     ("pad", (0, 3), (False, True))],
)  # fmt: skip
def test_a_wide_image_is_stretched_cut_or_gets_a_border(
    resize: str, rows: tuple[int, int], is_white: tuple[bool, bool]
) -> None:
    white = torch.full((1, 1, 8, 16), 255, dtype=torch.uint8)
    fitted = Preprocessing((1, 8, 8), resize).fit(white)  # type: ignore[arg-type]
    assert [bool((fitted[0, 0, row] == 255).all()) for row in rows] == list(is_white)


def test_a_crop_keeps_the_middle() -> None:
    striped = torch.zeros(1, 1, 8, 24, dtype=torch.uint8)
    striped[..., 8:16] = 200
    assert bool((Preprocessing((1, 8, 8), "crop").fit(striped) == 200).all())


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_grey_is_what_pil_computes(red: int, green: int, blue: int) -> None:
    colour = torch.tensor([red, green, blue], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = Image.new("RGB", (1, 1), (red, green, blue)).convert("L").getpixel((0, 0))
    assert Preprocessing((1, 1, 1)).fit(colour).item() == expected


def test_the_mean_and_the_deviation_are_those_of_the_pixels() -> None:
    images = torch.cat([image(9, 7), image(9, 7) // 3])
    mean, std = mean_and_std(iter([images[:1], images[1:]]))
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist())
    assert std == pytest.approx(scaled.std(dim=(0, 2, 3), correction=0).tolist())
    normalized = Preprocessing((3, 9, 7), "squash", mean, std).normalize(scaled.float())
    assert normalized.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert normalized.std(dim=(0, 2, 3), correction=0) == pytest.approx([1, 1, 1], abs=1e-4)


def test_images_of_one_colour_can_be_normalized() -> None:
    mean, std = mean_and_std([torch.full((4, 1, 2, 2), 7, dtype=torch.uint8)])
    assert torch.isfinite(
        Preprocessing((1, 2, 2), "squash", mean, std).normalize(torch.zeros(1, 1, 2, 2))
    ).all()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_network_for_pixels_can_be_exported_for_images_of_any_size(resize: str) -> None:
    preprocessing = Preprocessing((3, 12, 20), resize, (0.5,) * 3, (0.2,) * 3)  # type: ignore[arg-type]
    network = NetworkForPixels(preprocessing, torch.nn.Flatten()).eval()
    auto = torch.export.Dim.AUTO
    example = image(30, 31).permute(0, 2, 3, 1).contiguous()
    exported = torch.export.export(
        network, (example,), dynamic_shapes=[{0: auto, 1: auto, 2: auto}]
    )
    for height, width in ((12, 20), (5, 90), (90, 5), (33, 33)):
        pixels = image(height, width).permute(0, 2, 3, 1).contiguous()[:1]
        expected = preprocessing.normalize(
            preprocessing.scale(preprocessing.fit(pixels.permute(0, 3, 1, 2)))
        )
        assert torch.equal(exported.module()(pixels), expected.flatten(1))
