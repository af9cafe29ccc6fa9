"""What is wrong with a user's own images is one line, or is listed and left out."""

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli, Result, artifacts_of, runs_in
from tests.helpers.runs import RUN, with_store
from tunebook.task import ClassificationTask

SETTINGS = (
    *(word for word in RUN if not word.startswith(("data", "trainer.max_epochs"))),
    "trainer.max_epochs=1", "data.batch_size=8",
)  # fmt: skip
IMAGES = 20  # of each of two classes
COUNT = 2 * IMAGES


def photos(root: Path) -> Path:
    """Make a folder with two classes of noise, dark and bright, and a table of them."""
    random, rows = np.random.default_rng(0), ["path,label"]
    for number in range(COUNT):
        label = ("dark", "bright")[number % 2]
        file = root / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(number % 2 * 128, number % 2 * 128 + 128, (12, 12), np.uint8)
        Image.fromarray(pixels).save(file)
        rows.append(f"{label}/{number}.png,{label}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def train(cli: Cli, tmp_path: Path, *words: str) -> Result:
    kind = "table" if any("data.table=" in word for word in words) else "folder"
    places = (f"data.cache_root={tmp_path}/cache", *with_store(tmp_path))
    return cli("train.py", *SETTINGS, f"data=image_{kind}", *places, *words)


def assert_one_line(result: Result, said: str) -> None:
    assert result.code == 2, result
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert result.err.rstrip("\n").isprintable()
    assert said in result.err
    assert "Traceback" not in result.out


def empty(root: Path) -> None:
    (root / "dark").rename(root.with_name("elsewhere"))
    (root / "bright").rename(root.with_name("elsewhere, too"))


def one_class(root: Path) -> None:
    (root / "dark").rename(root.with_name("elsewhere"))


def no_test_images(root: Path) -> None:
    for split in ("train", "test"):
        (root / split).mkdir()
    (root / "bright").rename(root / "train" / "bright")
    (root / "dark").rename(root / "train" / "dark")
    (root / "test" / "dark").mkdir()
    (root / "train/dark/0.png").rename(root / "test/dark/0.png")


def truncated(root: Path) -> None:
    file = root / "dark" / "0.png"
    file.write_bytes(file.read_bytes()[:100])


def text(root: Path) -> None:
    (root / "dark" / "notes.jpg").write_text("a text")


def bomb(root: Path) -> None:
    """Write a black PNG file of 20,000 x 20,000 pixels, which has about 50 kB."""
    side = 20_000
    chunks = {
        b"IHDR": side.to_bytes(4) * 2 + bytes((1, 0, 0, 0, 0)),  # 1 bit per pixel, grey
        b"IDAT": zlib.compress(bytes(side * (1 + side // 8))),
        b"IEND": b"",
    }
    data = b"".join(
        len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
        for kind, data in chunks.items()
    )
    (root / "dark" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def all_of_one_pixel(root: Path) -> None:
    for file in root.glob("*/*.png"):
        Image.new("L", (1, 1), 200 * (file.parent.name == "bright")).save(file)


def many_classes(root: Path) -> None:
    for number in range(5000):
        (root / str(number)).mkdir()
        os.link(root / "dark" / "0.png", root / str(number) / "1.png")


def pixels_of_floats(root: Path) -> None:
    Image.fromarray(np.ones((9, 9), np.float32)).save(root / "dark" / "floats.tif")


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (empty, "has no images; expected: <class>/<image>"),
    "one class": (one_class, "has only one class, 'bright'; two are needed"),
    "no image in a split": (no_test_images, "no images in test of the class 'bright'"),
    "truncated": (truncated, "1 of 40 images can't be used: "),
    "text": (text, "notes.jpg (can't be read as an image (none of PNG, JPEG, "),
    "bomb": (bomb, "bomb.png (has 400,000,000 pixels, more than 100,000,000)"),
    "pipe": (lambda root: os.mkfifo(root / "dark/pipe.png"),
             "pipe.png (is a named pipe, not an image file)"),
    "device": (lambda root: (root / "dark/zero.png").symlink_to("/dev/zero"),
               "zero.png (is a device, not an image file)"),
    "loop": (lambda root: (root / "dark/loop.png").symlink_to("loop.png"),
             "loop.png (can't be opened (Too many levels of symbolic links))"),
    "dangling": (lambda root: (root / "dark/gone.png").symlink_to("nowhere"),
                 "gone.png (can't be opened (No such file or directory))"),
    "floats": (pixels_of_floats, "floats.tif (has pixels of 32 bits"),
    "a name with a line break": (lambda root: (root / "dark/a\n\x1b[31mb.jpg").touch(),
                                 r"dark/a\n\x1b[31mb.jpg (is empty)"),
    "1 x 1": (all_of_one_pixel, "model.kernel_size=3: must be at most 1: two convolutions"),
    "5,000 classes of one image": (many_classes, "data.test_fraction=0.1: can't split 5040 images"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_that_cannot_be_used_is_one_line(cli: Cli, tmp_path: Path, kind: str) -> None:
    make, said = FOLDERS[kind]
    make(photos(tmp_path / "photos"))
    assert_one_line(train(cli, tmp_path, f"data.root={tmp_path}/photos"), said)
    assert not (tmp_path / "out").exists()
    assert runs_in(tmp_path) == []


TABLES = {
    "missing files": ("nowhere/1.png,dark\nnowhere/2.png,dark\n",
                      "2 files of 42 can't be found in the table's folder: 'nowhere/1.png'"),
    "twice": ("dark/0.png,dark\n", "row 41: path 'dark/0.png' is also in row 1"),
    "outside": ("../elsewhere/1.png,dark\n",
                "row 41: path '../elsewhere/1.png' leads out of the table's folder"),
    "absolute": ("/etc/1.png,dark\n", "row 41: path '/etc/1.png' is absolute"),
    "no label": ("dark/1.png,\n", "row 41: label is empty"),
    "more fields": ("dark/1.png,dark,train\n", "row 41: has 3 fields, but the header has 2"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_that_cannot_be_used_is_one_line(cli: Cli, tmp_path: Path, kind: str) -> None:
    more, said = TABLES[kind]
    table = photos(tmp_path / "photos") / "labels.csv"
    table.write_text(table.read_text() + more)
    assert_one_line(train(cli, tmp_path, f"data.table={table}"), said)
    assert runs_in(tmp_path) == []


def test_an_unknown_split_is_one_line(cli: Cli, tmp_path: Path) -> None:
    table = photos(tmp_path / "photos") / "labels.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{rows[0]},split", *(f"{row},tran" for row in rows[1:])]))
    said = "row 1: split 'tran' is unknown; allowed: train, val, test. Did you mean 'train'?"
    assert_one_line(train(cli, tmp_path, f"data.table={table}"), said)


def test_labels_that_are_numbers_are_classes_in_their_order(cli: Cli, tmp_path: Path) -> None:
    table = photos(tmp_path / "photos") / "labels.csv"
    table.write_text(table.read_text().replace(",dark", ",10").replace(",bright", ",9"))
    result = train(cli, tmp_path, f"data.table={table}", "tracking.save_pictures=true")
    assert result.code == 0, result.err
    (run,) = runs_in(tmp_path)
    assert {"data/classes/00_9.jpg", "data/classes/01_10.jpg"} <= artifacts_of(tmp_path, run)


def test_everything_that_cannot_be_read_is_listed_and_left_out(cli: Cli, tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    truncated(root)
    bad = ("text", "bomb", "pipe", "device", "loop", "dangling", "floats")
    for kind in bad:
        FOLDERS[kind][0](root)
    Image.new("L", (1, 1)).save(root / "dark" / "pixel.png")
    result = train(cli, tmp_path, f"data.root={root}", "data.corrupt=skip")
    assert result.code == 0, result.err
    total = COUNT + len(bad) + 1
    assert f"{len(bad) + 1} of {total} images can't be used: " in result.out
    assert "they are left out" in result.out
    assert f"decoded {COUNT} images" in result.out  # all but the truncated one, and the pixel


def test_any_text_is_a_name_of_a_class_and_of_a_file(cli: Cli, tmp_path: Path) -> None:
    root = photos(tmp_path / "my photos, =1+1")
    (root / "dark").rename(root / " Füße\n\u202e1")
    (root / "bright").rename(root / '=HYPERLINK("x");\x1b[31m')
    for file in list(root.glob("*/*.png")):
        file.rename(file.with_name(f"{file.stem} ä,\n'\".png"))
    result = train(cli, tmp_path, f'data.root="{root}"')
    assert result.code == 0, result.err
    assert "\x1b" not in result.out + result.err
    assert "\u202e" not in result.out + result.err
    (run,) = runs_in(tmp_path)
    assert "data/split.csv" in artifacts_of(tmp_path, run)


@pytest.mark.slow
def test_five_thousand_classes_are_trained_on(cli: Cli, tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    for number in range(5000):
        for split, count in (("train", 2), ("test", 1), ("val", 1)):
            (root / "all" / split / str(number)).mkdir(parents=True)
            for copy in range(count):
                source = root / "dark" / f"{2 * copy}.png"
                os.link(source, root / "all" / split / str(number) / f"{copy}.png")
    result = train(cli, tmp_path, f"data.root={root}/all", "trainer.limit_train_batches=5")
    assert result.code == 0, result.err


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "can't be opened (No such file or directory)"),
        (lambda file: file.write_bytes(b"other"), "has changed since the run started"),
    ],
    ids=["vanished", "changed"],
)
def test_files_that_change_during_training_are_one_line(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    change: Callable[[Path], object],
    said: str,
) -> None:
    root, step = photos(tmp_path / "photos"), ClassificationTask.training_step

    def changing(task: ClassificationTask, *arguments: object) -> object:
        for file in root.glob("*/*.png"):
            change(file)
        return step(task, *arguments)

    monkeypatch.setattr(ClassificationTask, "training_step", changing)
    words = ("data.cache=none", f"data.num_workers={workers}", "trainer.max_epochs=3")
    result = train(cli, tmp_path, f"data.root={root}", *words)
    assert result.code == 2, result
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(rf"{re.escape(str(root))}/\w+/\d+\.png: {re.escape(said)}", errors[0])
    assert "Traceback" not in result.out + result.err
    (run,) = runs_in(tmp_path)
    assert run.info.status == "FAILED"


def test_files_that_change_do_not_matter_once_they_are_decoded(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, step = photos(tmp_path / "photos"), ClassificationTask.training_step

    def removing(task: ClassificationTask, *arguments: object) -> object:
        for file in root.glob("*/*.png"):
            file.unlink()
        return step(task, *arguments)

    monkeypatch.setattr(ClassificationTask, "training_step", removing)
    result = train(cli, tmp_path, f"data.root={root}", "data.cache=disk")
    assert result.code == 0, result.err
