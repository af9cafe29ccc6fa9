"""Cleaning a cache removes what the program keeps there, and nothing else."""

from pathlib import Path

import torch
from filelock import FileLock

from tests.unit.data.test_audit import root  # noqa: F401  (a fixture)
from tunebook.data.cache import cached
from tunebook.data.cleaning import clean
from tunebook.data.encoded import Collection, ImageFiles
from tunebook.data.inspection import inspect_files
from tunebook.data.listing import list_folder
from tunebook.data.preprocessing import Preprocessing

KEY = "0123456789abcdef" * 2


def test_only_files_of_the_programs_making_are_removed(tmp_path: Path) -> None:
    for name in (f"{KEY}.images", f"{KEY}.unfinished", "inspections.sqlite"):
        (tmp_path / name).write_bytes(b"12345")
    others = ["notes.txt", "my.images", f"{KEY}.images.bak", f"{KEY}0.images", "x.sqlite"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / f"{KEY[::-1]}.images").symlink_to(tmp_path / "notes.txt")
    (tmp_path / f"{KEY[::-1]}.unfinished").mkdir()
    cleaned = clean(tmp_path)
    assert (cleaned.files, cleaned.bytes, cleaned.kept) == (3, 15, ())
    assert {path.name for path in tmp_path.iterdir()} == {
        *others,
        f"{KEY[::-1]}.images",
        f"{KEY[::-1]}.unfinished",
    }
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_images_that_are_being_written_are_kept(tmp_path: Path) -> None:
    unfinished = tmp_path / f"{KEY}.unfinished"
    unfinished.write_bytes(b"12345")
    with FileLock(tmp_path / f"{KEY}.lock"):
        assert clean(tmp_path).kept == ((unfinished, "is in use"),)
    assert unfinished.exists()
    assert clean(tmp_path).files == 1
    assert not list(tmp_path.iterdir())


def test_images_that_are_being_read_are_kept(root: Path) -> None:  # noqa: F811
    listing, cache = list_folder(root), root.parent / "cache"
    inspection = inspect_files(listing, cache, show_progress=False)
    files = ImageFiles(listing.folder, listing.paths, inspection.digests)
    images = cached(Collection(listing, inspection, files), Preprocessing((3, 8, 8)), cache)
    assert images is not None
    cleaned = clean(cache)
    assert cleaned.kept == ((images.path, "is in use"),)
    assert images.gather(torch.tensor([0])).shape == (1, 3, 8, 8)
    path = images.path
    del images
    assert clean(cache).files == 1
    assert not path.exists()


def test_a_folder_that_is_not_there_has_nothing_to_remove(tmp_path: Path) -> None:
    assert clean(tmp_path / "nothing").files == 0
    assert not (tmp_path / "nothing").exists()
