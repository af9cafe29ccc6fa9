"""predict.py reads the images in a folder and names every file that is not an image."""

import csv
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import Cli, Finished
from tunebook.config.validation import InputError, SettingError
from tunebook.data.decoding import FORMATS
from tunebook.data.preprocessing import Preprocessing
from tunebook.data.sources import Digits
from tunebook.runs.images import check_output, image_files
from tunebook.runs.predict import BATCH, Classifier, Prediction, opened_table

GREY, COLOUR = (1, 8, 8), (3, 8, 8)


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Turn a read that hangs into a failure after two minutes."""
    signal.alarm(120)
    yield
    signal.alarm(0)


def ramp(mode: str) -> Image.Image:
    """Return an 8 x 8 image whose left half is black and whose right half is white."""
    grey = np.zeros((8, 8), dtype=np.uint8)
    grey[:, 4:] = 255
    if mode in ("I;16", "I"):
        return Image.fromarray(
            grey.astype(np.uint16) * 257 if mode == "I;16" else grey.astype(np.int32) * 257
        )
    return Image.fromarray(grey).convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"), ("1", "a.png"), ("P", "a.gif"), ("RGB", "a.jpg"), ("RGBA", "a.png"),
        ("LA", "a.png"), ("CMYK", "a.jpg"), ("I;16", "a.png"), ("I;16", "a.tif"), ("I", "a.tif"),
        ("L", "a.bmp"), ("RGB", "a.webp"), ("L", "a.pgm"), ("RGB", "a.ppm"), ("YCbCr", "a.jpg"),
        ("RGB", "a.tiff"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_black_is_black_and_white_is_white_in_every_mode(
    tmp_path: Path, mode: str, name: str, shape: tuple[int, int, int]
) -> None:
    ramp(mode).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    pixels = Preprocessing(shape).read(tmp_path / name)
    assert pixels.shape == (8, 8, shape[0])
    assert pixels[:, :3].max() < 40
    assert pixels[:, 5:].min() > 215


def test_a_file_gives_a_network_what_training_gives_it(tmp_path: Path) -> None:
    images = Digits().load(tmp_path).test_images[:3]
    preprocessing = Preprocessing(Digits.image_shape)
    pixels = []
    for i, image in enumerate(images):
        Image.fromarray(image.squeeze(0).numpy()).save(tmp_path / f"{i}.png")
        pixels.append(preprocessing.read(tmp_path / f"{i}.png"))
    read = preprocessing.scale(preprocessing.batch(pixels))
    assert torch.equal(read, preprocessing.scale(images))
    assert read.dtype == torch.float32
    assert 0 == read.min() < read.max() == 1


def test_of_an_animation_the_first_picture_and_a_photo_as_its_camera_was_held(
    tmp_path: Path,
) -> None:
    ramp("L").save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", (8, 8))])
    assert Preprocessing(GREY).read(tmp_path / "a.gif")[:, 5:].min() > 200
    exif = Image.Exif()
    exif[0x0112] = 3  # the picture is upside down
    ramp("L").save(tmp_path / "a.png", exif=exif)
    assert Preprocessing(GREY).read(tmp_path / "a.png")[:, :3].min() > 200


def eps(path: Path) -> None:
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
        b"(x) (w) file\nshowpage\n%%EOF\n"
    )


def bomb(path: Path) -> None:
    path.write_bytes(b"P5 60000 60000 255\n")


def truncated(path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:600])


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the length of a socket's path is limited
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


BROKEN = {
    "pipe": (os.mkfifo, "is a named pipe"), "folder": (os.mkdir, "Is a directory"),
    "socket": (unix_socket, "No such device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "dangling": (lambda path: path.symlink_to("none"), "No such file"),
    "loop": (lambda path: path.symlink_to(path), "symbolic links"), "eps": (eps, "none of PNG"),
    "bomb": (bomb, "pixels, more than|bomb"),
    "truncated": (truncated, "truncated"), "empty": (lambda path: path.touch(), "none of PNG"),
    "text": (lambda path: path.write_text("no image"), "none of PNG"),
    "float": (lambda path: Image.fromarray(np.ones((8, 8), np.float32)).save(path, "TIFF"),
              "32 bits"),
    "pdf": (lambda path: Image.new("L", (8, 8)).save(path, "PDF"), "none of PNG"),
    "ico": (lambda path: Image.new("L", (16, 16)).save(path, "ICO"), "none of PNG"),
    "xbm": (lambda path: path.write_text("#define a_width 8\n#define a_height 8\n"
                                         "static char a_bits[] = {0};"), "none of PNG"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_image_is_said(tmp_path: Path, kind: str) -> None:
    make, said = BROKEN[kind]
    make(tmp_path / "x.png")
    with pytest.raises(InputError, match=said):
        Preprocessing(GREY).read(tmp_path / "x.png")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from([name for name in FORMATS if name != "PPM"]),
    cuts=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=8)), max_size=4),
    length=st.floats(0, 1),
)
def test_any_damage_is_said_or_read(
    tmp_path: Path, kind: str, cuts: list[tuple[int, bytes]], length: float
) -> None:
    file = tmp_path / "x.png"
    Image.effect_noise((16, 16), 90).save(file, kind)
    data = bytearray(file.read_bytes())
    for place, content in cuts:
        place %= len(data)
        data[place : place + len(content)] = content
    file.write_bytes(data[: int(len(data) * (0.5 + length / 2))])
    problem = ""
    try:
        Preprocessing(GREY).read(file)
    except InputError as error:
        problem = str(error)
    assert problem.isprintable()


def test_a_folder_gives_all_that_is_named_like_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "note.txt", "=1+1.png"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "p.png")
    assert [file.name for file in image_files(str(tmp_path))] == [
        "=1+1.png",
        "a.jpg",
        "b.PNG",
        "p.png",
    ]
    for name, said in {
        "p.png": "is a named pipe",
        "none.png": "No such file",
        "x\0.png": "null",
        "x" * 300: "too long",
    }.items():
        with pytest.raises(SettingError, match=said) as refused:
            image_files(str(tmp_path / name))
        assert str(refused.value).isprintable()


def test_a_folder_is_searched_with_its_subfolders(tmp_path: Path) -> None:
    for name in (
        "b.png",
        "a/10.png",
        "a/2.png",
        "a/.c.png",
        ".h/x.png",
        "c/d/e.JPG",
        "c/note.txt",
        "e.png/f.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "x").symlink_to(tmp_path / "c")
    (tmp_path / "y.png").symlink_to("y.png")
    found = [str(path.relative_to(tmp_path)) for path in image_files(str(tmp_path))]
    assert found == ["a/2.png", "a/10.png", "b.png", "c/d/e.JPG", "e.png/f.png", "y.png"]


def classifier() -> Classifier:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    return Classifier(network, Preprocessing((1, 2, 2)), False, torch.device("cpu"))


def test_images_are_read_a_few_batches_ahead_and_stay_in_order() -> None:
    asked: list[int] = []

    def read(number: int) -> np.ndarray:
        asked.append(number)
        if number % 100 == 7:
            raise InputError(f"no image {number}")
        return np.full((2, 2, 1), number % 256, np.uint8)

    found = classifier().classify(range(4 * BATCH + 9), read)
    first = next(found)
    assert len(asked) <= 2 * BATCH
    every = [first, *found]
    assert len(every) == 4 * BATCH + 9
    for number, one in enumerate(every):
        assert one.problem == (f"no image {number}" if number % 100 == 7 else "")
        same = every[number % 256]
        if not one.problem and not same.problem:
            assert one.probabilities == pytest.approx(same.probabilities, abs=1e-6)


def test_a_table_is_whole_or_the_old_one(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("image,class,old\n")

    def interrupted() -> None:
        with opened_table(table, ["x", "y"]) as add_row:
            for number in range(10_000):
                add_row(Path(f"{number}.png"), Prediction([0.25, 0.75]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["image,class,old\n"]
    with opened_table(table, ["x", "y"]) as add_row:
        add_row(Path("a.png"), Prediction([0.25, 0.75]))
        add_row(Path("b.png"), Prediction(problem="is empty"))
    assert table.read_bytes() == b"image,class,x,y\r\na.png,y,0.25,0.75\r\nb.png,,,\r\n"


def fill_with_outputs(folder: Path) -> None:
    """Make an image and the files, links and devices that an output may be confused with."""
    (folder / "a.png").touch()
    (folder / "old.csv").touch()
    (folder / "table.csv").write_text("image,class,0,1\n")
    (folder / "precious.md").write_text("# Years of work\n")
    (folder / "precious.csv").symlink_to("precious.md")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "link.csv").symlink_to("old.csv")
    (folder / "device.csv").symlink_to("/dev/null")
    os.mkfifo(folder / "pipe.csv")


def test_an_output_replaces_a_file_and_nothing_else(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    fill_with_outputs(tmp_path)
    assert check_output(str(tmp_path / "new.csv"), [image]) == tmp_path / "new.csv"
    assert check_output(str(tmp_path / "link.csv"), [image]) == tmp_path / "old.csv"
    assert (
        check_output(str(tmp_path / "table.csv"), [image, tmp_path / "loop.png"])
        == tmp_path / "table.csv"
    )
    for name in ("precious.md", "precious.csv"):
        with pytest.raises(SettingError, match="a file that predict did not write"):
            check_output(str(tmp_path / name), [image])
    for name, said in {
        "/dev/null": "is a device", str(tmp_path / "device.csv"): "is a device",
        str(tmp_path / "pipe.csv"): "is a named pipe", str(tmp_path): "is a folder",
        str(tmp_path / "no" / "x.csv"): "its folder is not there", str(image): "one of the images",
        "/proc/x.csv": "can't be written", str(tmp_path / ("x" * 300)): "can't be written",
        str(image / "x.csv"): "folder|Not a dir",
    }.items():  # fmt: skip
        with pytest.raises(SettingError, match=said):
            check_output(name, [image])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [
            "a.png",
            "device.csv",
            "link.csv",
            "loop.png",
            "old.csv",
            "pipe.csv",
            "precious.csv",
            "precious.md",
            "table.csv",
        ]
    )


def fill_with_images(folder: Path) -> None:
    """Make a folder of five images with odd names and two files that can't be read."""
    (folder / "more" / "=1").mkdir(parents=True)
    ramp("L").save(folder / "more" / "=1" / "deep.png")
    ramp("L").save(folder / "good.png")
    ramp("L").save(folder / "=1+1.png")
    ramp("L").save(folder / "a\x1b[31m\n.png")
    ramp("L").save(os.fsencode(folder) + b"/\xff.png", "PNG")
    os.mkfifo(folder / "pipe.png")
    truncated(folder / "broken.jpg")


def test_predict_goes_past_what_it_cannot_read(
    cli: Cli, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my images (1)"
    fill_with_images(folder)
    table = tmp_path / "a, b.csv"
    words = (
        "run=last",
        f"images={folder}",
        f"output={table}",
        f"tracking.uri=sqlite:///{finished.folder}/mlflow.db",
    )
    result = cli("predict.py", *words)
    assert result.code == 1
    assert result.err.count("\n") == 2
    assert "pipe.png: is a named pipe" in result.err
    assert "broken.jpg: is truncated" in result.err
    assert result.out.count(" %\n") == 5
    assert "\x1b" not in result.out
    rows = {
        row[0].removeprefix(f"{folder}/"): row[1:]
        for row in csv.reader(table.read_text().splitlines())
    }
    assert set(rows) == {
        "image",
        "=1+1.png",
        "a\\x1b[31m\\n.png",
        "\\xff.png",
        "good.png",
        "more/=1/deep.png",
        "pipe.png",
        "broken.jpg",
    }
    assert rows["pipe.png"] == [""] * 11
    assert rows["good.png"][0] != ""
    assert cli("predict.py", *words[:2], "output=/dev/null", words[3]).code == 2
    assert Path("/dev/null").is_char_device()
    monkeypatch.chdir(folder)
    assert cli("predict.py", "run=last", "images==1+1.png", f"output={table}", words[3]).code == 0
    assert table.read_text().splitlines()[1].startswith("'=1+1.png,")
