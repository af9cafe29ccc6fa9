"""An audit finds copies, leaks between splits, unusable files and classes that are too small."""

import io
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.helpers.photos import photos
from tunebook.data.audit import Audit, audit
from tunebook.data.audit_findings import findings
from tunebook.data.encoded import ImageFiles
from tunebook.data.inspection import inspect_files
from tunebook.data.listing import list_folder
from tunebook.data.near_duplicates import (
    THRESHOLD,
    NearDuplicates,
    find_near_duplicates,
    near_pairs,
)
from tunebook.data.thumbnails import classes_to_show, contact_sheets

CLASSES = ("china", "flower")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a folder of 24 training and 6 test images, none of which is a copy."""
    for kind, name in enumerate(CLASSES):
        for number, photo in enumerate(photos(kind, 15)):
            place = tmp_path / "photos" / ("train" if number < 12 else "test") / name
            place.mkdir(parents=True, exist_ok=True)
            photo.save(place / f"{number}.png")
    return tmp_path / "photos"


def audited(root: Path, near: bool = True) -> Audit:
    listing = list_folder(root)
    inspection = inspect_files(listing, root.parent / "cache", show_progress=False)
    found = audit(listing, inspection)
    if near:
        read = ImageFiles(listing.folder, listing.paths, inspection.digests).read
        duplicates = find_near_duplicates(found.distinct(), read, show_progress=False)
        found = found.with_near_duplicates(duplicates)
    return found


def near_names(found: Audit) -> list[tuple[str, str]]:
    assert found.near is not None
    return [
        (found.name(one), found.name(other))
        for one, other in zip(found.near.first, found.near.second, strict=True)
    ]


def test_nothing_is_found_where_nothing_is_wrong(root: Path) -> None:
    found = audited(root)
    assert found.counts.tolist() == [[12, 3], [12, 3]]
    assert found.splits == ("train", "test")
    assert findings(found) == []
    assert (found.widths().lowest, found.heights().highest, found.sizes()) == (64, 64, 1)


def test_a_copy_in_another_split_is_a_leak(root: Path) -> None:
    shutil.copy(root / "train/china/3.png", root / "test/china/again.png")
    found = audited(root, near=False)
    first = findings(found)[0]
    assert first.startswith("1 of 7 test images is a copy of a train image")
    assert "test/china/again.png = train/china/3.png" in first
    # Without stated splits, it would be a copy within the data set.
    assert audit(found.listing, found.inspection, ["train"] * 31).leaks() == []
    assert audit(found.listing, found.inspection, ["train"] * 31).copies == found.copies


def test_a_copy_that_the_default_split_would_put_elsewhere_is_a_leak(root: Path) -> None:
    shutil.rmtree(root / "test")
    shutil.copy(root / "train/china/3.png", root / "train/china/again.png")
    found = audited(root, near=False)
    splits = ["test" if "again" in path else "train" for path in found.listing.paths]
    drawn = audit(found.listing, found.inspection, splits)
    first, second = findings(replace(found, listing=replace(found.listing, splits=None)), drawn)
    assert first.startswith("With the default split, 1 of 1 test images is a copy of a train image")
    assert "the column `group`" in first
    assert second.startswith("1 file is a copy of another")


def test_a_copy_in_another_class_is_a_conflict_and_the_worst_finding(root: Path) -> None:
    shutil.copy(root / "train/china/3.png", root / "train/flower/again.png")
    shutil.copy(root / "train/china/4.png", root / "test/china/again.png")
    first, second, *_ = findings(audited(root, near=False))
    assert "train/china/3.png is china, train/flower/again.png is flower" in first
    assert second.startswith("1 of 7 test images is a copy")


@pytest.mark.parametrize(
    ("change", "is_found"),
    [
        (lambda photo: photo, True),  # saved as JPEG
        (lambda photo: photo.resize((48, 48)), True),
        (lambda photo: photo.resize((160, 160)), True),
        (lambda photo: photo.convert("L"), True),
        (ImageOps.mirror, False),
        (lambda photo: photo.rotate(90), False),
    ],
    ids=["encoded again", "smaller", "larger", "grey", "mirrored", "turned"],
)
def test_near_duplicates(
    root: Path, change: Callable[[Image.Image], Image.Image], is_found: bool
) -> None:
    with Image.open(root / "train/flower/5.png") as photo:
        change(photo).save(root / "test/flower/changed.jpg", quality=60)
    found = audited(root)
    pair = ("train/flower/5.png", "test/flower/changed.jpg")
    assert near_names(found) == ([pair] if is_found else [])
    leaks = [s for s in findings(found) if "looks nearly the same as a train image" in s]
    assert len(leaks) == is_found
    if is_found:
        assert "test/flower/changed.jpg ~ train/flower/5.png" in leaks[0]


def test_exact_copies_are_not_near_duplicates_as_well(root: Path) -> None:
    for number in range(3):
        shutil.copy(root / "train/china/3.png", root / f"train/china/copy{number}.png")
    found = audited(root)
    assert found.near is not None
    assert len(found.near.first) == 0
    assert len(found.copies[0]) == 4


def test_unusable_files_small_classes_and_imbalance(root: Path) -> None:
    (root / "train/china/torn.png").write_bytes((root / "train/china/1.png").read_bytes()[:300])
    for number in range(4, 12):
        (root / f"train/flower/{number}.png").unlink()
    unusable, small, imbalance = findings(audited(root))
    assert "1 file of 23 can't be used (train/china/torn.png" in unusable
    assert "data.corrupt=skip" in unusable
    assert "1 class has fewer than 10 training images (flower: 4)" in small
    assert "(china, 12) has 3 times" in imbalance
    assert "data.sampler=balanced" in imbalance


def test_a_class_that_a_split_lacks_is_named(root: Path) -> None:
    found = audited(root, near=False)
    splits = ["val" if "china/14" in path else "train" for path in found.listing.paths]
    (sentence,) = findings(audit(found.listing, found.inspection, splits))
    assert sentence.startswith("1 class has no val image (flower)")


def test_images_of_one_colour_make_no_pairs() -> None:
    def read(position: int) -> bytes:
        data = io.BytesIO()
        colour = (position % 256, position // 256, 0)
        Image.new("RGB", (8, 8), colour).save(data, "PNG")
        return data.getvalue()

    found = find_near_duplicates(range(600), read, show_progress=False)
    assert len(found.blank) == 600
    assert len(found.first) == 0


def hashes_and_pixels(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random hashes, half of which differ in a few bits from the other half."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for place in range(count // 2, count):
        bits = rng.choice(64, rng.integers(0, 13), replace=False).astype(np.uint64)
        flips = np.bitwise_or.reduce(np.uint64(1) << bits) if len(bits) else np.uint64(0)
        hashes[place] = hashes[place - count // 2] ^ flips
    pixels = np.tile(rng.integers(0, 256, 256).astype(np.uint8), (count, 1))
    return hashes, pixels


@pytest.mark.parametrize("threshold", [0, 3, THRESHOLD, 10])
def test_no_pair_of_near_hashes_is_missed(threshold: int) -> None:
    hashes, pixels = hashes_and_pixels(1000)
    first, second, distances, is_complete = near_pairs(hashes, pixels, threshold)
    bits = np.bitwise_count(hashes[:, None] ^ hashes)
    expected = np.argwhere(np.triu(bits <= threshold, 1))
    assert sorted(zip(first, second, strict=True)) == sorted(map(tuple, expected.tolist()))
    assert (distances == bits[first, second]).all()
    assert is_complete


def test_very_many_images_that_look_alike_take_little_time() -> None:
    hashes, pixels = np.full(1000, 12345, dtype=np.uint64), hashes_and_pixels(1000)[1]
    started = time.monotonic()
    first, second, distances, is_complete = near_pairs(hashes, pixels, THRESHOLD)
    assert time.monotonic() - started < 10
    assert not is_complete
    (group,) = NearDuplicates(THRESHOLD, first, second, distances).groups()
    assert group == list(range(1000))


def test_a_sheet_decodes_only_the_images_that_it_shows(root: Path) -> None:
    found = audited(root, near=False)
    files = ImageFiles(found.listing.folder, found.listing.paths, found.inspection.digests)
    seen: list[str] = []

    def read(position: int) -> bytes:
        seen.append(files.paths[position])
        return files.read(position)

    sheets = dict(contact_sheets(found.listing, found.inspection, read, [1], images=6, side=32))
    assert list(sheets) == [1]
    assert sheets[1].size == (6 * 36 - 4, 32)
    of_class = [path for path in found.listing.paths if "flower" in path]
    assert len(seen) == 6
    assert (seen[0], seen[-1]) == (of_class[0], of_class[-1])


def test_of_many_classes_the_first_largest_and_smallest_are_shown() -> None:
    sizes = [100] * 5000
    sizes[4000], sizes[4500] = 1, 1000
    shown = classes_to_show(sizes, 36)
    assert len(shown) == 36
    assert {0, 4000, 4500} <= set(shown)
    assert classes_to_show([5, 1], 36) == [0, 1]
    assert classes_to_show([], 36) == []
