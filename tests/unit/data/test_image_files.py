"""What a folder or a table of images holds is found, and it is divided into splits."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tunebook.config.validation import SettingError
from tunebook.data.download import DataError
from tunebook.data.image_files import ImageFolder, ImageTable
from tunebook.data.preprocessing import Preprocessing

SETTINGS: dict[str, Any] = {
    "val_fraction": 0.2, "test_fraction": 0.25, "split_seed": 0, "folds": None, "fold": 0,
    "corrupt": "error",
    "cache": "none",
}  # fmt: skip
SIZE = (20, 10)


def source(folder: Path, **changed: Any) -> ImageFolder:
    return ImageFolder(**{**SETTINGS, "cache_root": str(folder / "cache"), **changed})


def save(path: Path, value: int = 0, size: tuple[int, int] = SIZE, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour: Any = value if mode == "L" else (value, value // 2, 0)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of 40 cats and 20 dogs."""
    for number in range(60):
        save(tmp_path / "photos" / ("dog" if number % 3 == 0 else "cat") / f"{number}.png", number)
    return tmp_path / "photos"


def test_sizes_classes_and_splits_are_found(photos: Path) -> None:
    found = source(photos.parent).find(photos)
    assert found.name == "photos"
    assert found.image_shape == (3, 10, 20)
    assert found.class_names == ("cat", "dog")
    # A quarter is the test, and a fifth of the rest the validation.
    assert (found.train_size, found.val_size, found.test_size) == (36, 9, 15)


def test_each_split_has_each_class_in_the_same_share(photos: Path) -> None:
    sets = source(photos.parent).load(photos)
    assert sets.val_labels is not None
    for labels in (sets.train_labels, sets.val_labels, sets.test_labels):
        assert labels.bincount()[0] == 2 * labels.bincount()[1]


def test_a_split_is_the_same_wherever_the_files_are(photos: Path, tmp_path: Path) -> None:
    first = source(tmp_path).describe(photos).table
    moved = photos.rename(tmp_path / "elsewhere")
    assert source(tmp_path).describe(moved).table == first
    assert source(tmp_path, split_seed=1).describe(moved).table != first
    lines = first.splitlines()
    assert lines[0] == "path,label,split,digest"
    assert len(lines) == 61


def test_the_test_images_do_not_depend_on_the_validation_fraction(photos: Path) -> None:
    few, many = (
        source(photos.parent, val_fraction=fraction).divided(photos).rows("test")
        for fraction in (0.1, 0.4)
    )
    assert few.tolist() == many.tolist()


def test_splits_that_are_there_are_used(tmp_path: Path) -> None:
    for split, count in (("train", 10), ("val", 4), ("test", 6)):
        for number in range(count):
            save(tmp_path / "data" / split / "ab"[number % 2] / f"{split}{number}.png", number)
    found = source(tmp_path).find(tmp_path / "data")
    assert (found.train_size, found.val_size, found.test_size) == (10, 4, 6)


def test_images_of_one_group_stay_together(tmp_path: Path) -> None:
    rows = ["path,label,group"]
    for number in range(120):
        save(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png,{number % 2},patient {number // 6}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    table = ImageTable(
        table=str(tmp_path / "labels.csv"), cache_root=str(tmp_path / "cache"), **SETTINGS
    )
    divided = table.divided(Path("not used"))
    groups = np.array(divided.collection.listing.groups)
    of_split = {name: set(groups[divided.rows(name)]) for name in ("train", "val", "test")}
    assert sum(map(len, of_split.values())) == len(set(groups)) == 20
    assert 24 <= len(divided.rows("test")) <= 36
    assert 12 <= len(divided.rows("val")) <= 24


def test_too_few_groups_are_one_line(tmp_path: Path) -> None:
    rows = ["path,label,group"]
    for number in range(20):
        save(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png,{number % 2},{number // 10}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    settings = {**SETTINGS, "cache_root": str(tmp_path / "cache")}
    with pytest.raises(SettingError, match=r"test_fraction=0\.25: can't split 20 images"):
        ImageTable(table=str(tmp_path / "labels.csv"), **settings).find(tmp_path)


@pytest.mark.parametrize(
    ("sizes", "modes", "shape"),
    [
        ([(30, 20)], ["L"], (1, 20, 30)),
        ([(30, 20)], ["L", "RGB"], (3, 20, 30)),
        ([(300, 200), (40, 50)], ["RGB"], (3, 64, 64)),
        ([(30, 20), (40, 50)], ["RGB"], (3, 30, 30)),
        ([(400, 400)], ["RGB"], (3, 64, 64)),
    ],
)
def test_a_size_is_chosen_for_the_images(
    tmp_path: Path, sizes: list[tuple[int, int]], modes: list[str], shape: tuple[int, int, int]
) -> None:
    for number in range(40):
        path = tmp_path / "data" / "ab"[number // 20] / f"{number}.png"
        save(path, number, sizes[number % len(sizes)], modes[number % len(modes)])
    assert source(tmp_path).find(tmp_path / "data").image_shape == shape


def test_images_that_cannot_be_read_are_an_error_or_left_out(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "cat" / "1.png").write_text("no image")
    whole = (photos / "dog" / "3.png").read_bytes()
    (photos / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 60 images can't be used: .*1\.png .*corrupt=skip"):
        source(photos.parent).find(photos)
    found = source(photos.parent, corrupt="skip").find(photos)
    assert found.train_size + found.val_size + found.test_size == 58
    assert "2 of 60 images can't be used" in caplog.text
    sets = source(photos.parent, corrupt="skip", cache="disk").open(
        photos, Preprocessing((3, 4, 4))
    )
    assert sets.train_images[:].shape == (found.train_size, 3, 4, 4)


def test_a_class_that_is_too_small_to_be_split_is_one_line(photos: Path) -> None:
    save(photos / "bird" / "1.png")
    with pytest.raises(SettingError, match=r"test_fraction=0\.25: can't split 61 images"):
        source(photos.parent).find(photos)


def test_a_fold_takes_the_place_of_the_validation_split(photos: Path) -> None:
    """Three folds of 45 training images validate on 15 each; the test images stay the same."""
    seen: list[str] = []
    tests = set()
    for fold in range(3):
        table = pd.read_csv(
            io.StringIO(source(photos.parent, folds=3, fold=fold).describe(photos).table)
        )
        assert (table.split == "val").sum() == 15
        seen += list(table.path[table.split == "val"])
        tests.add(tuple(table.path[table.split == "test"]))
    assert len(tests) == 1
    assert sorted([*seen, *tests.pop()]) == sorted(table.path)


def test_folds_replace_validation_images_that_are_stated(tmp_path: Path) -> None:
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for number in range(count):
            save(tmp_path / "p" / split / "ab"[number % 2] / f"{number}.png", number)
    found = source(tmp_path, folds=3, fold=0).find(tmp_path / "p")
    assert (found.train_size, found.val_size, found.test_size) == (8, 4, 4)
    with pytest.raises(SettingError, match=r"folds=7: must be at most 6"):
        source(tmp_path, folds=7).find(tmp_path / "p")
