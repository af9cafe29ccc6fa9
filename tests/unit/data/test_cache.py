"""Decoded images are kept in a file that several processes can write and read."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tunebook.data import cache
from tunebook.data.cache import HEADER_BYTES, cached
from tunebook.data.download import DataError
from tunebook.data.encoded import Collection, DecodedImages, ImageFiles
from tunebook.data.inspection import inspect_files
from tunebook.data.listing import list_folder
from tunebook.data.preprocessing import Preprocessing

SHAPE = (3, 10, 14)
COUNT = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(COUNT):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (20 + number, 30, 3)
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(path)
    return tmp_path


def collect(folder: Path) -> Collection:
    listing = list_folder(folder / "images")
    inspection = inspect_files(listing, folder / "cache")
    files = ImageFiles(listing.folder, listing.paths, inspection.digests)
    return Collection(listing, inspection, files)


def decoded(collection: Collection, preprocessing: Preprocessing) -> torch.Tensor:
    rows = torch.arange(COUNT)
    return DecodedImages(
        collection.images, rows, collection.inspection.digests, preprocessing
    ).gather(rows)


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_it_holds_what_is_decoded(folder: Path, resize: str) -> None:
    collection = collect(folder)
    preprocessing = Preprocessing(SHAPE, resize)  # type: ignore[arg-type]
    images = cached(collection, preprocessing, folder / "cache")
    assert images is not None
    assert torch.equal(images[:], decoded(collection, preprocessing))
    rows = torch.tensor([7, 3, 3, 30])
    assert torch.equal(images.select(rows)[torch.tensor([1, 3])], images[:][[3, 30]])


def test_another_size_or_another_image_is_another_file(folder: Path) -> None:
    first = cached(collect(folder), Preprocessing(SHAPE), folder / "cache")
    smaller = cached(collect(folder), Preprocessing((3, 5, 5)), folder / "cache")
    Image.new("RGB", (20, 30)).save(folder / "images" / "a" / "0.png")
    changed = cached(collect(folder), Preprocessing(SHAPE), folder / "cache")
    assert first is not None
    assert smaller is not None
    assert changed is not None
    assert len({first.path, smaller.path, changed.path}) == 3
    assert int(changed[:1].max()) == 0


@pytest.mark.parametrize("at", [10, HEADER_BYTES + 100, -1])
def test_a_damaged_file_is_written_again(folder: Path, at: int) -> None:
    preprocessing = Preprocessing(SHAPE)
    first = cached(collect(folder), preprocessing, folder / "cache")
    assert first is not None
    data = bytearray(first.path.read_bytes())
    data[at] ^= 1
    first.path.write_bytes(data if at != -1 else data[:-50])
    again = cached(collect(folder), preprocessing, folder / "cache")
    assert again is not None
    assert torch.equal(again[:], decoded(collect(folder), preprocessing))


def write_and_count(folder: Path, counts: "multiprocessing.Queue[int]") -> None:
    calls = [0]
    original = cache.decode_one

    def counted(*arguments: object) -> object:
        calls[0] += 1
        return original(*arguments)  # type: ignore[arg-type]

    cache.decode_one = counted  # type: ignore[assignment]
    assert cached(collect(folder), Preprocessing(SHAPE), folder / "cache") is not None
    counts.put(calls[0])


def test_of_processes_that_start_together_one_decodes(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    counts: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=write_and_count, args=(folder, counts)) for _ in range(4)]
    for process in processes:
        process.start()
    found = sorted(counts.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert found == [0, 0, 0, COUNT]


def test_one_that_stops_in_the_middle_leaves_nothing_that_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = collect(folder)
    monkeypatch.setattr(cache, "CHUNK", 8)
    (folder / "images" / "b" / "21.png").unlink()  # since it was inspected
    with pytest.raises(DataError, match=r"21\.png"):
        cached(collection, Preprocessing(SHAPE), folder / "cache")
    assert list((folder / "cache").glob("*.images")) == []
    assert list((folder / "cache").glob("*.unfinished")) == []


def test_a_file_that_changes_while_it_is_used_is_noticed(folder: Path) -> None:
    collection = collect(folder)
    Image.new("RGB", (20, 30)).save(folder / "images" / "a" / "0.png")
    with pytest.raises(DataError, match=r"0\.png: has changed since"):
        decoded(collection, Preprocessing(SHAPE))


def test_it_can_be_sent_to_another_process(folder: Path) -> None:
    import pickle

    images = cached(collect(folder), Preprocessing(SHAPE), folder / "cache")
    assert images is not None
    assert torch.equal(pickle.loads(pickle.dumps(images))[:5], images[:5])
