"""A change depends on (key, sample) alone, keeps images in [0, 1], and is what torchvision does."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from tunebook.config.validation import SettingError
from tunebook.data.augmentation import (
    Affine,
    ColorJitter,
    CutMix,
    Flip,
    MixUp,
    NoAugmentation,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    TrivialAugment,
    operations,
)
from tunebook.data.augmentation.policies import RANDAUGMENT, TRIVIALAUGMENT_WIDE, _operations
from tunebook.data.augmentation.steps import Steps, augment, mixes_labels

import torchvision.transforms.v2.functional as vision  # isort: skip  (after tunebook)

BILINEAR = vision.InterpolationMode.BILINEAR
# Each changes almost every image.
ALONE: dict[str, nn.Module] = {
    "affine": Affine(10.0, 5.0, 0.9, 1.1, 0.08),
    "crop": RandomResizedCrop(0.3, 0.9, 0.75, 1.5),
    "jitter": ColorJitter(0.4, 0.4, 0.4, 0.1),
    "randaugment": RandAugment(3, 9.0),
    "trivialaugment": TrivialAugment(),
    "erasing": RandomErasing(1.0, 0.1, 0.5, 0.5, 2.0, 0.25),
    "flip": Flip(0.5),
}
MIXING: dict[str, nn.Module] = {"mixup": MixUp(1.0, 1.0), "cutmix": CutMix(1.0, 1.0)}
ALL = {**ALONE, **MIXING, "several": Steps([*ALONE.values(), *MIXING.values()])}
CLASSES = 5


def pictures(count: int, channels: int = 3, height: int = 12, width: int = 10) -> Tensor:
    """Return random images whose pixels are whole 255ths, as in image files."""
    random = torch.Generator().manual_seed(count)
    pixels = torch.randint(256, (count, channels, height, width), generator=random)
    return pixels.float() / 255


def changed(augmentation: nn.Module, images: Tensor, index: Tensor, key: int) -> Tensor:
    labels = torch.arange(len(images)) % CLASSES
    return augment(augmentation, images, labels, CLASSES, index, key)[0]


@pytest.mark.parametrize("name", ALONE)
@settings(max_examples=20, deadline=None)
@given(
    samples=st.lists(st.integers(0, 10**6), min_size=2, max_size=9, unique=True),
    key=st.integers(0, 2**63 - 1),
)
def test_a_sample_is_changed_alike_in_any_batch(name: str, samples: list[int], key: int) -> None:
    index, images = torch.tensor(samples), pictures(len(samples))
    together = changed(ALONE[name], images, index, key)
    for position in range(len(samples)):
        part = slice(position, position + 1)
        alone = changed(ALONE[name], images[part], index[part], key)
        torch.testing.assert_close(alone, together[part])
    back = changed(ALONE[name], images.flip(0), index.flip(0), key).flip(0)
    torch.testing.assert_close(back, together)


@pytest.mark.parametrize("name", ALL)
def test_each_epoch_and_sample_is_changed_in_another_way(name: str) -> None:
    bright = torch.linspace(0.5, 1, 40).view(-1, 1, 1, 1)
    images, index = pictures(1) * bright, torch.arange(40)
    first, again, second = (changed(ALL[name], images, index, key) for key in (1, 1, 2))
    assert torch.equal(first, again)
    differ = (first != second).flatten(1).any(dim=1)
    assert differ.float().mean() > 0.3
    same_image = changed(
        ALONE.get(name, ALONE["crop"]), images[:1].expand(40, -1, -1, -1), index, 1
    )
    assert len(same_image.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_images_stay_images(name: str, channels: int) -> None:
    images = pictures(64, channels)
    found = changed(ALL[name], images, torch.arange(64), 7)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert -1e-6 <= float(found.min()) <= float(found.max()) <= 1 + 1e-6
    assert torch.equal(images, pictures(64, channels)), "the images that are given do not change"


@pytest.mark.parametrize(
    "augmentation",
    [
        NoAugmentation(), Flip(0.0), RandomResizedCrop(1.0, 1.0, 1.0, 1.0),
        ColorJitter(0.0, 0.0, 0.0, 0.0), RandAugment(0, 9.0), Affine(0.0, 0.0, 1.0, 1.0, 0.0),
        RandomErasing(0.0, 0.1, 0.5, 0.5, 2.0, 0.0), MixUp(1.0, 0.0), CutMix(1.0, 0.0),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_no_strength_is_no_change(augmentation: nn.Module) -> None:
    images = pictures(8, height=9, width=9)
    torch.testing.assert_close(changed(augmentation, images, torch.arange(8), 3), images)


def test_flips_and_erasing_happen_as_often_as_they_should() -> None:
    count = 4000
    images, index = torch.rand(count, 1, 8, 8), torch.arange(count)
    flipped = (changed(Flip(0.3), images, index, 5) == images.flip(-1)).flatten(1).all(dim=1)
    assert float(flipped.float().mean()) == pytest.approx(0.3, abs=0.03)
    erased = changed(RandomErasing(0.6, 0.1, 0.3, 0.5, 2.0, 0.5), images, index, 5) == 0.5
    share = erased.float().mean(dim=(1, 2, 3))
    assert float((share > 0).float().mean()) == pytest.approx(0.6, abs=0.03)
    # Sides are whole pixels, so that the area of a small image's rectangle is only about as asked.
    assert float(share[share > 0].mean()) == pytest.approx(0.2, abs=0.02)
    places = erased.float().mean(dim=(0, 1))
    assert float((places - places.flip(0).flip(1)).abs().max()) < 0.05, "no side is preferred"


def test_a_crop_shows_a_part_of_the_image_of_the_area_that_is_asked() -> None:
    count, height, width = 3000, 40, 40
    rows = torch.linspace(0, 1, height).view(1, 1, -1, 1).expand(count, 1, height, width)
    columns = torch.linspace(0, 1, width).view(1, 1, 1, -1).expand(count, 1, height, width)
    crop, index = RandomResizedCrop(0.2, 0.5, 0.75, 1.3333), torch.arange(count)
    tall, wide = (
        (part.amax(dim=(1, 2, 3)) - part.amin(dim=(1, 2, 3)))
        for part in (changed(crop, rows, index, 1), changed(crop, columns, index, 1))
    )
    area = tall * wide
    assert float(area.mean()) == pytest.approx(0.35, abs=0.03)
    assert float(area.min()) > 0.15
    assert float(area.max()) < 0.55
    assert float((wide / tall).log().mean()) == pytest.approx(0, abs=0.02)


def test_a_crop_is_that_of_torchvision() -> None:
    images = pictures(4, height=16, width=16)
    matrix = torch.tensor([[8 / 16, 0, 2 * (4 + 4) / 16 - 1], [0, 12 / 16, 2 * (2 + 6) / 16 - 1]])
    found = operations.resample(images, matrix.expand(4, -1, -1), "border")
    expected = vision.resized_crop(images, 2, 4, 12, 8, [16, 16], antialias=False)
    inner = (..., slice(1, -1), slice(1, -1))  # at the edge, ours sees what is beside the crop
    torch.testing.assert_close(found[inner], expected[inner])


AMOUNTS = (0.0, 0.3, 1.0, 1.7)
OPERATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "brightness": (vision.adjust_brightness, AMOUNTS),
    "contrast": (vision.adjust_contrast, AMOUNTS),
    "saturation": (vision.adjust_saturation, AMOUNTS),
    "sharpness": (vision.adjust_sharpness, AMOUNTS),
    "hue": (vision.adjust_hue, (-0.5, -0.2, 0.0, 0.4)),
    "solarize": (vision.solarize, (0.0, 0.3, 0.5, 1.0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_those_of_torchvision(name: str, channels: int) -> None:
    theirs, amounts = OPERATIONS[name]
    images = pictures(len(amounts), channels)
    found = getattr(operations, name)(images, torch.tensor(amounts))
    for number, amount in enumerate(amounts):
        torch.testing.assert_close(found[number], theirs(images[number], amount), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_on_levels_are_those_of_torchvision(channels: int) -> None:
    dark = pictures(6, channels, 32, 32) * torch.linspace(0.2, 1, 6).view(-1, 1, 1, 1)
    pixels = (dark * 255).round().to(torch.uint8)
    pixels[0] = 17  # of a single value
    images = pixels.float() / 255
    unused = torch.zeros(6)
    equalized = operations.equalize(images, unused)
    assert torch.equal((equalized * 255).round().to(torch.uint8), vision.equalize(pixels))
    stretched = operations.autocontrast(images, unused)
    torch.testing.assert_close(stretched, vision.autocontrast(images), atol=1e-5, rtol=0)
    for bits in range(1, 9):
        kept = operations.posterize(images, torch.full((6,), float(bits)))
        expected = vision.posterize(pixels, bits)
        assert torch.equal((kept * 255).round().to(torch.uint8), expected)


@pytest.mark.parametrize("limits", [RANDAUGMENT, TRIVIALAUGMENT_WIDE], ids=["rand", "trivial"])
@pytest.mark.parametrize("amount", [-1.0, -0.4, 0.7])
def test_geometric_operations_are_those_of_torchvision(limits, amount: float) -> None:
    images = pictures(2, height=20, width=30)
    height, width = images.shape[-2:]
    _, shear_x, shear_y, shift_x, shift_y, rotation = _operations(limits)[:6]
    angle = float(torch.rad2deg(torch.atan(torch.tensor(limits.shear * amount))))
    along, down = (
        int((limits.shift * side if limits.shift_is_fraction else limits.shift) * amount)
        for side in (width, height)
    )
    plain = {"scale": 1.0, "interpolation": BILINEAR}
    still = {**plain, "angle": 0.0, "shear": [0.0, 0.0]}
    sheared = {**plain, "angle": 0.0, "translate": [0, 0], "center": [0, 0]}
    expected = {
        shear_x: vision.affine(images, shear=[angle, 0.0], **sheared),
        shear_y: vision.affine(images, shear=[0.0, angle], **sheared),
        shift_x: vision.affine(images, translate=[along, 0], **still),
        shift_y: vision.affine(images, translate=[0, down], **still),
        rotation: vision.rotate(images, limits.rotation * amount, interpolation=BILINEAR),
    }
    for operation, theirs in expected.items():
        found = operation(images, torch.full((2,), amount))
        torch.testing.assert_close(found, theirs, atol=2e-4, rtol=0)


def test_every_operation_of_a_policy_is_used_equally_often() -> None:
    from tunebook.randomness import uniform

    chosen = (uniform(3, torch.arange(14_000), 3)[:, 0] * 14).long().bincount(minlength=14)
    assert int(chosen.min()) > 850
    assert int(chosen.max()) < 1150


@pytest.mark.parametrize("name", MIXING)
def test_images_and_labels_are_mixed_in_the_same_shares(name: str) -> None:
    count = 500
    labels = torch.arange(count) % CLASSES
    # The brightness is the class, so that an image's mean says which shares of classes it has.
    images = (labels / 10).view(-1, 1, 1, 1).expand(-1, 1, 10, 10).contiguous()
    mixed, shares = augment(MIXING[name], images, labels, CLASSES, torch.arange(count), 11)
    assert shares.shape == (count, CLASSES)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(count))
    expected = shares @ (torch.arange(CLASSES) / 10)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected)
    own = shares[torch.arange(count), labels]
    assert 0.4 < float(own.mean()) < 0.75
    assert int((shares > 0).sum(dim=1).max()) == 2


@pytest.mark.parametrize("name", MIXING)
def test_the_order_of_a_batch_does_not_change_how_it_is_mixed(name: str) -> None:
    images, index, labels = pictures(30), torch.arange(100, 130), torch.arange(30) % CLASSES
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    plain, shuffled = (
        augment(MIXING[name], images[o], labels[o], CLASSES, index[o], 4)
        for o in (torch.arange(30), order)
    )
    torch.testing.assert_close(plain[0][order], shuffled[0])
    torch.testing.assert_close(plain[1][order], shuffled[1])


def test_shares_of_mixup_have_a_beta_distribution() -> None:
    count, labels = 4000, torch.tensor([0, 1]).repeat(2000)
    images, index = torch.zeros(count, 1, 1, 1), torch.arange(count)
    _, shares = augment(MixUp(0.3, 1.0), images, labels, 2, index, 1)
    own = shares[torch.arange(count), labels]
    apart = own[(shares > 0).all(dim=1)]  # from partners of another class
    assert len(apart) > 1500
    assert stats.kstest(apart.numpy(), stats.beta(0.3, 0.3).cdf).pvalue > 0.001


def test_only_mixing_changes_the_kind_of_labels() -> None:
    labels = torch.arange(4) % 2
    images, index = pictures(4), torch.arange(4)
    assert not mixes_labels(Steps(list(ALONE.values())))
    assert augment(Flip(0.5), images, labels, 2, index, 1)[1] is labels
    assert mixes_labels(Steps([Flip(0.5), MixUp(1.0, 0.5)]))


def test_steps_draw_numbers_of_their_own() -> None:
    twice = Steps([Flip(0.5), Flip(0.5)])
    images, index = pictures(400), torch.arange(400)
    found = changed(twice, images, index, 9)
    as_before = (found == images).flatten(1).all(dim=1).float().mean()
    assert 0.4 < float(as_before) < 0.6, "two flips with equal numbers would undo each other"


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Flip(1.5), "probability"),
        (lambda: RandomResizedCrop(0.9, 0.5, 1.0, 1.0), "scale_min"),
        (lambda: RandomResizedCrop(0.0, 0.5, 1.0, 1.0), "scale_min"),
        (lambda: RandomErasing(0.5, 0.1, 0.2, 2.0, 1.0, 0.0), "ratio_min"),
        (lambda: ColorJitter(0.1, 0.1, 0.1, 0.6), "hue"),
        (lambda: RandAugment(2, 31.0), "magnitude"),
        (lambda: RandAugment(15, 3.0), "num_ops"),
        (lambda: MixUp(0.0, 1.0), "alpha"),
        (lambda: CutMix(1.0, -0.1), "probability"),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(make: Callable[[], nn.Module], key: str) -> None:
    with pytest.raises(SettingError) as error:
        make()
    assert error.value.key == key
