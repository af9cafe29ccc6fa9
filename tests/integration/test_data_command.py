"""data.py prints what is wrong with a data set, writes a page about it, and removes the cache."""

import csv
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.helpers.photos import photos
from tunebook.tracking.store import folder_name

# Names that a page, a terminal or a spreadsheet might obey.
NAMES = ("<script>alert(1)</script>", "=1+1", "Füße & \u202e\n 1")


def fill(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """Make classes of 12 photographs each, with the names of files like those of the classes."""
    for place, name in enumerate(names):
        label = folder / name.replace("/", "_")
        label.mkdir(parents=True)
        for number, photo in enumerate(photos(place % 2, 20, 48)):
            if number % 2 == place // 2 and number < 24:
                photo.save(label / f"{number}{label.name}.png")
    return folder


def settings(tmp_path: Path) -> tuple[str, str]:
    return f"outputs={tmp_path}/out", f"cache_root={tmp_path}/cache"


class Page(HTMLParser):
    """Collect the elements of a page, what they refer to, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "srcset")
        ]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_what_is_printed_and_needs_nothing_else(cli: Cli, tmp_path: Path) -> None:
    root = fill(tmp_path / "my photos")
    classes = sorted(path.name for path in root.iterdir())
    first = sorted((root / classes[0]).iterdir())[0]
    shutil.copy(first, root / classes[1] / "copy.png")
    (root / classes[0] / "torn.png").write_bytes(first.read_bytes()[:200])
    result = cli("data.py", f"root={root}", *settings(tmp_path))
    assert result.code == 0, result.err
    folder = tmp_path / "out" / "reports" / folder_name("data-my photos")
    assert result.out.endswith(f"report  {folder}/report.html\n")
    assert "\x1b" not in result.out + result.err
    assert "\u202e" not in result.out
    sentences = [line[2:] for line in result.out.splitlines() if line.startswith("- ")]
    page = Page(folder / "report.html")
    for sentence in sentences:
        assert sentence in page.words
    assert "have the same content but different classes" in sentences[0]
    assert "torn.png is truncated" in page.words
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(re.match("data:image/jpeg;base64,|#", address) for address in page.addresses)
    # A sheet for each class, and the two images of the conflict.
    assert page.tags.count("img") == 3 + 2
    assert r"Füße & \u202e\n 1" in page.words
    with open(folder / "problems.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["problem"] for row in rows] == ["unusable", "copy"]
    assert not any(cell.startswith("=") for row in rows for cell in row.values())


def test_copies_that_a_training_would_divide_are_leaks(cli: Cli, tmp_path: Path) -> None:
    root = fill(tmp_path / "photos", ("a", "b"))
    for file in list(root.glob("*/*.png")):
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    result = cli("data.py", f"root={root}", "near_duplicates=false", *settings(tmp_path))
    assert result.code == 0, result.err
    assert re.search(r"- With the default split, \d of 4 test images are copies of", result.out)
    # As in a run, whose settings may divide the images differently.
    (root / "train").mkdir()
    for folder in ("a", "b"):
        (root / folder).rename(root / "train" / folder)
        shutil.copytree(root / "train" / folder, root / "test" / folder)
        shutil.copytree(root / "train" / folder, root / "val" / folder)
    result = cli("data.py", f"root={root}", "near_duplicates=false", *settings(tmp_path))
    assert "the default split" not in result.out
    assert re.search(r"- \d+ of \d+ test images are copies of train images", result.out)


def test_a_table_is_audited_too_and_nothing_may_be_wrong(cli: Cli, tmp_path: Path) -> None:
    root = fill(tmp_path / "photos", ("a", "b"))
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.glob("*/*"))]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
    result = cli("data.py", f"table={root}/labels.csv", *settings(tmp_path))
    assert result.code == 0, result.err
    assert "No problems were found." in result.out
    assert (tmp_path / "out" / "reports" / "data-labels" / "report.html").is_file()


def test_without_near_duplicates_only_the_shown_images_are_compared(
    cli: Cli, tmp_path: Path
) -> None:
    root = fill(tmp_path / "photos", ("a", "b"))
    with_near = []
    for near in ("true", "false"):
        next((root / "a").iterdir()).replace(root / "a" / "0.png")
        for photo in photos(0, 1, 48):
            photo.resize((30, 30)).save(root / "a" / "again.jpg")
            photo.save(root / "a" / "0.png")
        words = (f"root={root}", f"near_duplicates={near}", *settings(tmp_path))
        with_near.append("look nearly the same" in cli("data.py", *words).out)
    assert with_near == [True, False]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: root is required: a folder of images"),
        (["root={0}/nothing"], "/nothing: no such folder"),
        (["root={0}", "table=labels.csv"], "give only one of them"),
        (["root={0}", "near_threshold=11"], "near_threshold=11: must be less than or equal to 10"),
        (["root={0}", "near_treshold=1"], "Did you mean 'near_threshold'?"),
        (["clean", "root={0}"], "is not used by clean"),
        (["clene"], "clene"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    cli: Cli, tmp_path: Path, words: list[str], message: str
) -> None:
    result = cli("data.py", *(word.format(tmp_path) for word in words), *settings(tmp_path))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert message in result.err
    assert not list(tmp_path.iterdir())


def test_clean_removes_the_cache_and_says_how_much(cli: Cli, tmp_path: Path) -> None:
    root = fill(tmp_path / "photos", ("a", "b"))
    cli("data.py", f"root={root}", "near_duplicates=false", *settings(tmp_path))
    (tmp_path / "cache" / "notes.txt").write_text("mine")
    size = (tmp_path / "cache" / "inspections.sqlite").stat().st_size
    result = cli("data.py", "clean", *settings(tmp_path))
    assert result.code == 0, result.err
    assert result.out == f"{tmp_path}/cache: removed 1 file, {size / 1000:.3g} kB\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["notes.txt"]
    assert list(root.glob("*/*.png"))
