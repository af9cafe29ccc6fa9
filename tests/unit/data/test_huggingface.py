"""Data sets of the package `datasets` are read from local folders, and what is wrong is said."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tunebook.config.validation import InputError
from tunebook.data import hub_images
from tunebook.data.download import DataError
from tunebook.data.huggingface import HuggingFace
from tunebook.data.inspection import digest_of

COUNTS = {"train": 12, "validation": 6, "test": 6}
NAMED = datasets.Features(
    {"image": datasets.Image(), "label": datasets.ClassLabel(names=["b", "a"])}
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the package's files out of the user's folder, and the network out of the tests."""
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub" / "datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., HuggingFace]:
    def make(**changed: Any) -> HuggingFace:
        found = dict.fromkeys(
            ("path", "config_name", "revision", "train_split", "val_split", "test_split",
             "image_column", "label_column")
        )  # fmt: skip
        others = {
            "val_fraction": 0.25, "test_fraction": 0.25, "split_seed": 0, "folds": None, "fold": 0,
            "corrupt": "error",
            "cache": "none", "cache_root": str(tmp_path / "cache"),
        }  # fmt: skip
        return HuggingFace(**(found | others | changed))

    return make


def png(number: int) -> bytes:
    """Return an image file whose pixels depend on a number."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 5, 3), np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def made(**changed: Any) -> datasets.DatasetDict:
    """Return a data set whose labels are 0, 1, 0, 1, ... in each split."""
    splits, number = {}, 0
    for split, count in COUNTS.items():
        rows = {
            "image": [{"bytes": png(number + i), "path": f"{i}.png"} for i in range(count)],
            "label": [i % 2 for i in range(count)],
        }
        splits[split] = datasets.Dataset.from_dict(rows | changed.get(split, {}), features=NAMED)
        number += count
    return datasets.DatasetDict(splits)


def write_saved(folder: Path) -> None:
    made().save_to_disk(folder)


def write_parquet(folder: Path) -> None:
    folder.mkdir()
    for split, dataset in made().items():
        dataset.to_parquet(folder / f"{split}.parquet")


def write_images(folder: Path) -> None:
    number = 0
    for split, count in COUNTS.items():
        for i in range(count):
            place = folder / split / "ba"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i:02d}.png").write_bytes(png(number))
            number += 1


@pytest.mark.parametrize("write", [write_saved, write_parquet, write_images])
def test_each_kind_of_folder_gives_the_same_images(
    tmp_path: Path, source: Callable[..., HuggingFace], write: Callable[[Path], None]
) -> None:
    write(tmp_path / "data set")
    contents = source().find(tmp_path / "data set")
    assert contents.image_shape == (3, 6, 5)
    assert (contents.train_size, contents.val_size, contents.test_size) == (12, 6, 6)
    collection = source().collect(tmp_path / "data set")
    listing, images = collection.listing, collection.images
    found = {
        (images.read(i), listing.class_names[label], listing.splits[i])
        for i, label in enumerate(listing.labels)
    }
    expected, number = set(), 0
    for split, count in COUNTS.items():
        for i in range(count):
            expected.add((png(number), "ba"[i % 2], "val" if split == "validation" else split))
            number += 1
    assert found == expected
    assert list(collection.inspection.digests) == [
        digest_of(images.read(i)) for i in range(len(images))
    ]


def test_classes_are_in_the_order_that_the_data_set_states(
    tmp_path: Path, source: Callable[..., HuggingFace]
) -> None:
    write_saved(tmp_path / "stated")
    assert source().find(tmp_path / "stated").class_names == ("b", "a")
    changed = made().cast_column("label", datasets.Value("int64"))
    changed.map(lambda row: {"label": 10 if row["label"] else 9}).save_to_disk(tmp_path / "int")
    assert source().find(tmp_path / "int").class_names == ("9", "10")


def test_columns_without_types_are_chosen_by_name(
    tmp_path: Path, source: Callable[..., HuggingFace]
) -> None:
    rows = {"picture": [png(i) for i in range(12)], "kind": ["cat", "dog"] * 6, "count": range(12)}
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    chosen = {"image_column": "picture", "label_column": "kind"}
    contents = source(**chosen).find(tmp_path / "a.parquet")
    assert contents.class_names == ("cat", "dog")
    for given, said in (
        ({}, "no column holds images; .*image_column, allowed: picture, kind, count"),
        ({"image_column": "picture"}, "several columns may hold the labels; .*: kind, count"),
        (chosen | {"label_column": "kin"}, "allowed: picture, kind, count. Did you mean 'kind'"),
        (chosen | {"label_column": "picture"}, "label_column=picture: holds no labels"),
        (chosen | {"image_column": "count"}, "the column count holds no images"),
        (chosen | {"train_split": "tran"}, "allowed: train. Did you mean 'train'"),
    ):
        with pytest.raises(DataError, match=said) as refused:
            source(**given).find(tmp_path / "a.parquet")
        assert "\n" not in str(refused.value)


def test_a_split_without_labels_is_not_used(
    tmp_path: Path, source: Callable[..., HuggingFace], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made(test={"label": [-1] * 6}).save_to_disk(tmp_path / "a")
    contents = source().find(tmp_path / "a")
    assert (contents.train_size, contents.val_size, contents.test_size) == (9, 6, 3)
    assert "the split test is not used: its images have no labels" in caplog.text
    made(test={"label": [0, 1, -1, 0, 1, 0]}).save_to_disk(tmp_path / "b")
    with pytest.raises(DataError, match="the split test has 1 images without a label"):
        source().find(tmp_path / "b")


def test_images_that_cannot_be_read_are_listed_or_skipped(
    tmp_path: Path, source: Callable[..., HuggingFace]
) -> None:
    images = [{"bytes": png(i), "path": None} for i in range(12)]
    images[3], images[5] = {"bytes": b"no image", "path": None}, None
    made(train={"image": images}).save_to_disk(tmp_path / "a")
    with pytest.raises(DataError, match=r"2 of 24 .* row 3 of the split train .*holds no image"):
        source().find(tmp_path / "a")
    assert source(corrupt="skip").find(tmp_path / "a").train_size == 10


def test_a_data_set_reads_no_file_outside_of_its_folder(
    tmp_path: Path, source: Callable[..., HuggingFace]
) -> None:
    (tmp_path / "private.png").write_bytes(png(0))
    places = [{"bytes": None, "path": str(tmp_path / "private.png")}] * 12
    dataset = datasets.Dataset.from_dict({"image": places, "label": [0, 1] * 6}, features=NAMED)
    (tmp_path / "a").mkdir()
    # As a table of pyarrow, since the package itself would read the file.
    dataset.data.table.to_pandas().to_parquet(tmp_path / "a" / "train.parquet")
    with pytest.raises(DataError, match=r"is a file outside of the data set: .*private\.png"):
        source(image_column="image", label_column="label").find(tmp_path / "a")


def test_images_are_inspected_once_and_changes_are_noticed(
    tmp_path: Path, source: Callable[..., HuggingFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_images, "SETTLED_NS", -(10**12))
    asked: list[int] = []
    examine = hub_images.examine
    monkeypatch.setattr(hub_images, "examine", lambda data: asked.append(1) or examine(data))
    write_images(tmp_path / "a")
    first = source().collect(tmp_path / "a")
    assert len(asked) == 24
    again = source().collect(tmp_path / "a")
    assert len(asked) == 24
    assert again.inspection.digests == first.inspection.digests
    assert np.array_equal(again.inspection.widths, first.inspection.widths)
    file = tmp_path / "a" / "train" / "a" / "01.png"
    file.write_bytes(png(99))
    with pytest.raises(DataError, match="row 0 of the split train: has changed"):
        first.images.read(0)
    assert digest_of(png(99)) in source().collect(tmp_path / "a").inspection.digests
    assert len(asked) in (25, 48)  # the package may write its table of paths anew


def test_what_is_not_there_is_said_in_one_line(
    tmp_path: Path, source: Callable[..., HuggingFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        DataError, match=r"data\.root=.*/nowhere: there is no such folder"
    ) as refused:
        source().find(tmp_path / "nowhere")
    assert "\n" not in str(refused.value)
    # The package itself would take a folder of this name.
    (tmp_path / "nobody").mkdir()
    write_saved(tmp_path / "nobody" / "nothing")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"nobody/nothing: .* Hub can't be reached") as refused:
        source(path="nobody/nothing").find(tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match=rf"is on this machine.*; write data\.root={tmp_path}"):
        source(path=str(tmp_path)).find(tmp_path)


def test_folders_that_hold_no_data_set_are_said_in_one_line(
    tmp_path: Path, source: Callable[..., HuggingFace]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text("raise SystemExit('was run')")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    for name in ("empty", "script", "damaged.parquet"):
        with pytest.raises(DataError, match="can't be opened") as refused:
            source().find(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_the_extra_is_named_if_it_is_not_installed(
    tmp_path: Path, source: Callable[..., HuggingFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_saved(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install '\.\[datasets\]'"):
        source().find(tmp_path / "a")
