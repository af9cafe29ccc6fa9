"""Each image file is read once, and what is wrong with it is said in a few words."""

import hashlib
import logging
import os
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tunebook.data.inspection import Inspection, inspect_files
from tunebook.data.listing import Listing, list_folder

# Files that were written long ago, as those of a data set are.
OLD = sorted(Path(matplotlib.get_data_path(), "images").glob("*.png"))


def listing_of(folder: Path) -> Listing:
    paths = tuple(sorted(os.listdir(folder)))
    return Listing(folder, paths, np.zeros(len(paths), np.int64), ("a",))


def inspect(folder: Path, cache: Path) -> Inspection:
    return inspect_files(listing_of(folder), cache, show_progress=False)


def values(found: Inspection) -> tuple[Any, ...]:
    arrays = (found.widths, found.heights, found.channels, found.bytes, found.modified_ns)
    return found.digests, dict(found.problems), [array.tolist() for array in arrays]


def test_what_is_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(folder / "a.jpg", exif=exif)
    Image.new("L", (1, 1)).save(folder / "b.png")
    os.utime(folder / "b.png", ns=(5, 1_234_567_891))
    found = inspect(folder, tmp_path / "cache")
    assert found.widths.tolist() == [20, 1]
    assert found.heights.tolist() == [30, 1]
    assert found.channels.tolist() == [3, 1]
    for n, name in enumerate(("a.jpg", "b.png")):
        data = (folder / name).read_bytes()
        assert found.digests[n] == hashlib.blake2b(data, digest_size=16).hexdigest()
        assert found.bytes[n] == len(data)
    assert found.modified_ns[1] == 1_234_567_891
    assert not found.problems


def save(path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(path, "JPEG")


def cut(path: Path) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:600])


def save_with_damaged_exif(path: Path) -> None:
    """Save an image about whose EXIF data Pillow warns."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0"
    Image.effect_noise((64, 64), 90).save(path, "JPEG", exif=exif)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(600 * 2**20)


PROBLEMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut, "is truncated"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: path.write_text("x"), "can't be read as an image (none of PNG, JPEG, "),
    "pipe": (os.mkfifo, "is a named pipe, not an image file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not an image file"),
    "folder": (os.mkdir, "can't be opened (Is a directory)"),
    "dangling": (lambda path: path.symlink_to("no"), "can't be opened (No such file or directory)"),
    "loop": (lambda path: path.symlink_to(path), "can't be opened (Too many levels of symbolic"),
    "bomb": (lambda path: path.write_bytes(b"P5 60000 60000 255\n"),
             "has 3,600,000,000 pixels, more than 100,000,000"),
    "large": (sparse, "has 629,145,600 bytes, more than 536,870,912"),
}  # fmt: skip


def test_problems_are_said_and_the_other_files_inspected(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, (make, _) in enumerate(PROBLEMS.values()):
        save(folder / f"{number}.good.jpg")
        make(folder / f"{number}.jpg")
    for number in range(100):  # more than a thread inspects at once
        save_with_damaged_exif(folder / f"{number}.more.jpg")
    listing, filters = listing_of(folder), list(warnings.filters)
    for _ in range(2):
        found = inspect_files(listing, tmp_path / "cache", show_progress=False)
        named = {listing.paths[position]: text for position, text in found.problems.items()}
        assert set(named) == {f"{number}.jpg" for number in range(len(PROBLEMS))}
        for number, (_, said) in enumerate(PROBLEMS.values()):
            assert named[f"{number}.jpg"].startswith(said)
        good = [n for n, path in enumerate(listing.paths) if path not in named]
        assert (found.widths[good] == 64).all()
        assert all(found.digests[n] for n in good)
    assert warnings.filters == filters


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    root = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        save(root / name / "ä\n.jpg")
    found = inspect_files(list_folder(root), tmp_path / "cache", show_progress=False)
    assert found.widths.tolist() == [64, 64]


class TestCache:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        made = tmp_path / "images"
        made.mkdir()
        for number, file in enumerate(OLD[:20]):
            (made / f"{number}.png").symlink_to(file)
        return made

    def change(self, cache: Path, statement: str) -> None:
        connection = sqlite3.connect(cache / "inspections.sqlite")
        with connection:
            connection.execute(statement)
        connection.close()

    def test_a_file_is_read_again_only_after_a_change(self, folder: Path) -> None:
        cache = folder.parent / "deep/cache"
        first = values(inspect(folder, cache))
        assert values(inspect(folder, cache)) == first
        self.change(cache, "UPDATE inspections SET width = 999, problem = 'kept'")
        again = inspect(folder, cache)
        assert set(again.widths.tolist()) == {999}  # so no file was read
        assert set(again.problems.values()) == {"kept"}
        (folder / "3.png").unlink()
        (folder / "3.png").symlink_to(OLD[20])
        position = listing_of(folder).paths.index("3.png")
        after = inspect(folder, cache)
        assert [n for n, width in enumerate(after.widths) if width != 999] == [position]
        assert (
            after.digests[position]
            == hashlib.blake2b(OLD[20].read_bytes(), digest_size=16).hexdigest()
        )

    def test_a_file_that_was_just_written_is_read_again(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        save(tmp_path / "images/a.jpg")
        os.utime(tmp_path / "images/a.jpg", (0, 0))  # as a copy has the time of its original
        inspect(tmp_path / "images", tmp_path)
        self.change(tmp_path, "UPDATE inspections SET width = 999")
        assert inspect(tmp_path / "images", tmp_path).widths.tolist() == [64]

    @pytest.mark.parametrize("kind", ["text", "cut off", "overwritten", "values", "version"])
    def test_a_damaged_cache_is_made_anew(self, folder: Path, kind: str) -> None:
        cache = folder.parent
        first = values(inspect(folder, cache))
        file = cache / "inspections.sqlite"
        data = file.read_bytes()
        if kind == "text":
            file.write_text("no database" * 1000)
        elif kind == "cut off":
            file.write_bytes(data[: len(data) // 2])
        elif kind == "overwritten":
            file.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
        elif kind == "values":
            self.change(cache, "UPDATE inspections SET digest = 7, width = 'x', channels = 1e300")
        else:
            self.change(cache, "PRAGMA user_version = 7")
            self.change(cache, "ALTER TABLE inspections DROP COLUMN width")
        assert values(inspect(folder, cache)) == first
        self.change(cache, "UPDATE inspections SET width = 999")
        assert set(inspect(folder, cache).widths.tolist()) == {999}

    @pytest.mark.parametrize("kind", ["a file", "a folder as database", "a full disk"])
    def test_without_a_cache_files_are_read_each_time(
        self, folder: Path, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = folder.parent / "cache"
        if kind == "a file":
            cache.touch()
        elif kind == "a full disk":
            cache.mkdir()
            (cache / "inspections.sqlite").symlink_to("/dev/full")
        else:
            (cache / "inspections.sqlite").mkdir(parents=True)
        with caplog.at_level(logging.INFO):
            found = inspect(folder, cache)
        assert not found.problems
        assert all(found.digests)
        assert len(caplog.messages) == 1
        assert "the image files are read again next time" in caplog.messages[0]

    def test_several_processes_may_use_it_at_once(self, folder: Path) -> None:
        cache = folder.parent / "cache"
        program = (
            "from pathlib import Path; from tunebook.data.inspection import inspect_files;"
            "from tunebook.data.listing import list_table;"
            f"listing = list_table(Path({str(folder.parent / 'table.csv')!r}));"
            f"print(inspect_files(listing, Path({str(cache)!r})).digests)"
        )
        rows = [f"images/{number}.png,{number}\n" for number in range(20)]
        (folder.parent / "table.csv").write_text("path,label\n" + "".join(rows))
        started = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            )
            for _ in range(2)
        ]
        outputs = {process.communicate()[0].decode().strip() for process in started}
        digests = dict(zip(listing_of(folder).paths, inspect(folder, cache).digests, strict=True))
        assert outputs == {str(tuple(digests[f"{number}.png"] for number in range(20)))}
        self.change(cache, "UPDATE inspections SET width = 999")
        assert set(inspect(folder, cache).widths.tolist()) == {999}
