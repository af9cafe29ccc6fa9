"""Images are found in the folders and tables that people have, and other input gets one line."""

import csv
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebook.data.download import DataError
from tunebook.data.listing import Listing, class_order, list_folder, list_table, natural_key


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def classes_of(listing: Listing) -> dict[str, str]:
    return {
        path: listing.class_names[label]
        for path, label in zip(listing.paths, listing.labels, strict=True)
    }


def refusal(list_images: Callable[[Path], Listing], place: Path) -> str:
    with pytest.raises(DataError) as refused:
        list_images(place)
    text = str(refused.value)
    assert text.isprintable()
    assert text.removeprefix("data.root=").removeprefix("data.table=").startswith(str(place))
    return text


class TestFolder:
    def test_images_are_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        touch(tmp_path, "dog/10.png", "dog/2.JPG", "cat/3.webp", "cat/deep/er/1.tif", "ant/3.webp")
        found = list_folder(tmp_path)
        assert found.paths == (
            "cat/deep/er/1.tif",
            "dog/2.JPG",
            "ant/3.webp",
            "cat/3.webp",
            "dog/10.png",
        )
        assert found.class_names == ("ant", "cat", "dog")
        assert found.labels.tolist() == [1, 2, 0, 1, 2]
        assert found.splits is found.groups is None

    @pytest.mark.parametrize(
        "names", [("train", "val", "test"), ("Training", "validation", "testing"), ("TRAIN",)]
    )
    def test_folders_of_splits(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        for name in names:
            touch(tmp_path, f"{name}/a/1.png", f"{name}/train/1.png")
        found = list_folder(tmp_path)
        splits = dict(zip(found.paths, found.splits or (), strict=True))
        for name, split in zip(names, ("train", "val", "test"), strict=False):
            assert splits[f"{name}/a/1.png"] == splits[f"{name}/train/1.png"] == split
        assert found.class_names == ("a", "train")

    def test_what_is_no_image_is_left_out_and_counted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        touch(tmp_path, "a/1.png", "b/1.png", "a/x.txt", "b/y.TXT", "a/none", "stray.png")
        touch(tmp_path, "a/.1.png", ".git/1.png", "a/.thumbs/1.png", "__MACOSX/a/1.png")
        touch(tmp_path, "a/Thumbs.db")
        with caplog.at_level(logging.INFO):
            assert set(list_folder(tmp_path).paths) == {"a/1.png", "b/1.png"}
        assert caplog.messages == [
            f"{tmp_path}: left out 6 files: .txt (2), hidden (2), without a suffix (1), "
            "images outside of class folders (1)"
        ]

    def test_special_files_are_listed_but_not_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # the length of a socket's path is limited
        touch(tmp_path, "a/1.png", "b/1.png")
        os.mkfifo(tmp_path / "a/2.png")
        (tmp_path / "a/3.png").symlink_to("nowhere")
        (tmp_path / "a/4.png").symlink_to("4.png")
        (tmp_path / "a/5.png").symlink_to("/dev/zero")
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("a/6.png")
        assert len(list_folder(tmp_path).paths) == 7

    def test_links_are_followed_and_loops_end(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        touch(root, "a/1.png", "b/2.png")
        touch(tmp_path, "elsewhere/3.png", "elsewhere/x/4.png")
        (root / "c").symlink_to(tmp_path / "elsewhere")
        (root / "loop").symlink_to(root)
        (root / "a/loop").symlink_to(root)
        (root / "a/5.png").symlink_to(tmp_path / "elsewhere/3.png")
        (root / "a/0").symlink_to(root / "a")
        for number in range(12):  # each with a link to each other: 12! ways to go
            touch(root, f"b/{number}/1.png")
            for other in range(12):
                (root / f"b/{number}/to_{other}").symlink_to(root / f"b/{other}")
        assert classes_of(list_folder(root)) == {
            "a/1.png": "a", "a/5.png": "a", "b/2.png": "b", "c/3.png": "c", "c/x/4.png": "c",
        } | {f"b/{number}/1.png": "b" for number in range(12)}  # fmt: skip

    def test_thousands_of_classes_and_any_text_as_a_name(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{number}/1.png" for number in range(5000)))
        touch(tmp_path, " a b\n/ä\n\u202e名.png", '=1+1/,;\t".png', "'/\x1b.png")
        found = list_folder(tmp_path)
        assert found.class_names == (*map(str, range(5000)), " a b\n", "'", "=1+1")
        assert classes_of(found)[" a b\n/ä\n\u202e名.png"] == " a b\n"
        assert len(found.paths) == 5003

    def test_an_unreadable_folder(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/1.png", "b/1.png")
        (tmp_path / "b").chmod(0)
        if os.access(tmp_path / "b", os.R_OK):
            pytest.skip("this user may read everything")
        assert "b: can't be read (Permission denied)" in refusal(list_folder, tmp_path)


def bad_name(root: Path) -> None:
    touch(root, "a/1.png", "b/1.png")
    os.close(os.open(bytes(root / "a") + b"/\xff.png", os.O_CREAT))


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda root: None, "no such folder"),
    "a file": (lambda root: root.touch(), "is a file, not a folder"),
    "a pipe": (os.mkfifo, "is a named pipe, not a folder"),
    "empty": (os.mkdir, "has no images; expected: <class>/<image>, or train/"),
    "only texts": (lambda root: touch(root, "a.txt"), "has no images"),
    "no classes": (lambda root: touch(root, "1.png", "2.png"), "its images are in no class folde"),
    "no classes in splits": (lambda root: touch(root, "train/1.png", "test/1.png"),
                             "its images are in no class folders"),
    "one class": (lambda root: touch(root, "a/1.png"), "has only one class, 'a'; two are needed"),
    "an empty class": (lambda root: touch(root, "a/1.png", "b/1.png", "c/1.txt"),
                       "no images of the class 'c'"),
    "empty classes": (lambda root: touch(root, "a/1.png", *(f"{n}/1.txt" for n in range(9))),
                      "no images of the classes '0', '1', '2' and 6 more"),
    "missing in train": (lambda root: touch(root, "train/a/1.png", "train/b/1.png", "val/c/1.png"),
                         "no images in train of the class 'c'"),
    "missing in test": (lambda root: touch(root, "train/a/1.png", "train/b/1.png", "test/b/1.png"),
                        "no images in test of the class 'a'"),
    "an empty split": (lambda root: touch(root, "train/a/1.png", "train/b/1.png", "val/x.txt"),
                       "no images in val of the classes 'a', 'b'"),
    "no train": (lambda root: touch(root, "val/a/1.png", "test/a/1.png"),
                 "has no folder train/ beside 'test', 'val'"),
    "two vals": (lambda root: touch(root, "train/a/1.png", "val/a/1.png", "valid/a/1.png"),
                 "both val/ and valid/ name a split"),
    "splits and classes": (lambda root: touch(root, "train/1.png", "bus/1.png"),
                           "holds folders of splits ('train') and others ('bus')"),
    "not UTF-8": (bad_name, r"a/\xff.png: its name is not UTF-8; rename it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    make, said = FOLDERS[kind]
    make(tmp_path / "root")
    assert said in refusal(list_folder, tmp_path / "root")


def test_names_that_the_system_refuses(tmp_path: Path) -> None:
    for name, said in {"x\0": "null", "x" * 300: "File name too long"}.items():
        with pytest.raises(DataError, match=said) as refused:
            list_folder(tmp_path / name)
        assert str(refused.value).isprintable()


class TestTable:
    def write(self, folder: Path, text: str, name: str = "table.csv") -> Path:
        touch(folder, "1.png", "2.png", "a/3.png")
        (folder / name).write_text(text, "utf-8")
        return folder / name

    @pytest.mark.parametrize(
        "text",
        [
            "path,label,split,group\na/3.png,x,train,p\n1.png,y,train,p\n2.png,x,test,q\n"
            "4.png,y,test,q\n",
            "\ufeffgroup;extra; Path;LABEL;Split\r\np;1;./a/3.png; x;train\r\n\r\n"
            "p;1;a/../1.png;y;TRAINING\r\nq;;2.png;x;test\r\nq;;4.png;y;testing\r\n",
            'split\tgroup\t"path"\tlabel\ntrain\tp\ta//3.png\t"x"\ntrain\tp\t1.png\ty\n'
            'test\tq\t"2.png"\tx\ntest\tq\t4.png\ty',
        ],
    )
    def test_rows_are_images(self, tmp_path: Path, text: str) -> None:
        touch(tmp_path, "4.png")
        found = list_table(self.write(tmp_path, text))
        assert found.paths == ("a/3.png", "1.png", "2.png", "4.png")
        assert found.labels.tolist() == [0, 1, 0, 1]
        assert found.class_names == ("x", "y")
        assert found.splits == ("train", "train", "test", "test")
        assert found.groups == ("p", "p", "q", "q")
        assert found.folder == tmp_path

    def test_empty_columns_are_none(self, tmp_path: Path) -> None:
        found = list_table(self.write(tmp_path, "path,label,split,group\n1.png,a,,\n2.png,NA,,\n"))
        assert found.splits is found.groups is None
        assert found.class_names == ("NA", "a")  # text, not a missing value

    def test_ignored_columns_are_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            list_table(self.write(tmp_path, "path,label,splits\n1.png,a,train\n2.png,b,test\n"))
        assert caplog.messages == [
            f"data.table={tmp_path}/table.csv: columns ignored: splits. Did you mean 'split'?"
        ]

    @pytest.mark.parametrize("kind", ["text", "category", "int", "int categories", "float"])
    def test_parquet(self, tmp_path: Path, kind: str) -> None:
        touch(tmp_path, "1.png", "2.png", "3.png")
        labels = pd.Series([10, 9, 10])
        if kind in ("text", "category"):
            labels = labels.astype(str)
        elif kind == "float":
            labels = labels.astype(float)
        if "categor" in kind:
            labels = labels.astype("category")
        splits = ["train", "train", None] if kind == "int" else None
        frame = pd.DataFrame({"extra": 1, "label": labels, "path": ["1.png", "2.png", "3.png"]})
        frame.to_parquet(tmp_path / "t.parquet")
        found = list_table(tmp_path / "t.parquet")
        assert found.class_names == ("9", "10")
        assert found.labels.tolist() == [1, 0, 1]
        if splits:
            frame.assign(split=splits).to_parquet(tmp_path / "t.parquet")
            assert "row 3: split is empty" in refusal(list_table, tmp_path / "t.parquet")

    def test_numbers_are_classes_in_their_order(self) -> None:
        assert class_order(["10", "-2", "9", "0"]) == ("-2", "0", "9", "10")
        assert class_order(["b10", "b9", "-2"]) == ("-2", "b9", "b10")


TABLES = {
    "no label": ("path,labl\n1.png,a\n",
                 "has no column 'label', only: path, labl. Did you mean 'labl'?"),
    "no path": ("file,label\n1.png,a\n", "has no column 'path', only: file, label."),
    "twice": ("path,label,Label\n1.png,a,a\n", "has 2 columns 'label'"),
    "nothing": ("", "has no column 'path'"),
    "no rows": ("path,label\n", "has no rows"),
    "empty path": ("path,label\n1.png,a\n,b\n", "row 2: path is empty"),
    "empty label": ("path,label\n1.png,a\n2.png, \n", "row 2: label is empty"),
    "unknown split": ("path,label,split\n1.png,a,train\n2.png,b,tset\n",
                      "row 2: split 'tset' is unknown; allowed: train, val, test. "
                      "Did you mean 'test'?"),
    "some splits": ("path,label,split\n1.png,a,train\n2.png,b,\n", "row 2: split is empty"),
    "some groups": ("path,label,group\n1.png,a,\n2.png,b,x\n", "row 1: group is empty"),
    "no train": ("path,label,split\n1.png,a,test\n2.png,b,val\n", "no row has the split train"),
    "absolute": ("path,label\n/1.png,a\n2.png,b\n", "row 1: path '/1.png' is absolute"),
    "outside": ("path,label\n1.png,a\na/../../2.png,b\n",
                "row 2: path 'a/../../2.png' leads out of the table's folder"),
    "null": ("path,label\n1.png,a\n2\0.png,b\n", "row 2: path '2\\x00.png' contains a null"),
    "duplicate": ("path,label\n1.png,a\n2.png,b\n./1.png,b\n",
                  "row 3: path './1.png' is also in row 1"),
    "group in two splits": ("path,label,split,group\n1.png,a,train,g\n2.png,b,test,g\n",
                            "row 2: group 'g' is in test, but in train in row 1"),
    "one class": ("path,label\n1.png,a\n2.png,a\n", "has only one class, 'a'"),
    "missing in a split": ("path,label,split\n1.png,a,train\n2.png,b,train\na/3.png,a,test\n",
                           "no images in test of the class 'b'"),
    "missing files": ("path,label\n1.png,a\n" + "".join(f"{n}.gif,b\n" for n in range(5)),
                      "5 files of 6 can't be found in the table's folder: "
                      "'0.gif', '1.gif', '2.gif' and 2 more"),
    "more fields": ("path,label\n1.png,a\n2,5.png,b\n", "row 2: has 3 fields, but the header has"),
    "fewer fields": ("path,label\n1.png\n", "row 1: has 1 field, but the header has 2"),
    "open quote": ('path,label\n1.png,a\n"2.png,b\n', "row 2: is malformed"),
    "long field": ("path,label\n1.png," + "x" * 200_000, "row 1: is malformed"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    text, said = TABLES[kind]
    assert said in refusal(list_table, TestTable().write(tmp_path, text))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(513 * 2**20)


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    kinds: dict[str, tuple[Callable[[Path], object], str]] = {
        "none.csv": (lambda path: None, "no such file"),
        "x.xlsx": (lambda path: path.touch(), "is no table; allowed: a file named .csv, .tsv"),
        "pipe.csv": (os.mkfifo, "is a named pipe, not a table"),
        "folder.csv": (os.mkdir, "Is a directory"),
        "large.csv": (sparse, "has 537,919,488 bytes, more than 536,870,912"),
        "latin.csv": (lambda path: path.write_bytes(b"path,label\n\xe4,a\n"), "is not UTF-8"),
        "text.parquet": (lambda path: path.write_text("path,label\n"), "can't be read as Parquet"),
        "empty.parquet": (lambda path: path.touch(), "can't be read as Parquet"),
        "lists.parquet": (
            lambda path: pd.DataFrame({"path": ["1"], "label": [[1]]}).to_parquet(path),
            "can't be read as Parquet",
        ),
    }
    for name, (make, said) in kinds.items():
        make(tmp_path / name)
        assert said in refusal(list_table, tmp_path / name)


NAME = st.text("ab01 .é'\",;\n", min_size=1, max_size=5).filter(lambda name: name.strip() == name)


@settings(max_examples=60, deadline=None)
@given(
    classes=st.lists(
        st.tuples(NAME, st.sets(NAME, min_size=1, max_size=4)),
        min_size=2,
        max_size=4,
        unique_by=lambda item: item[0],
    ),
    splits=st.sampled_from([(), ("train",), ("train", "test"), ("train", "val", "test")]),
    parquet=st.booleans(),
)
def test_a_folder_and_its_table_agree(
    classes: list[tuple[str, set[str]]], splits: tuple[str, ...], parquet: bool
) -> None:
    with TemporaryDirectory() as made:
        root = Path(made)
        for split in splits or ("",):
            for name, files in classes:
                touch(root, *(f"{split or '.'}/x{name}/x{file}.png" for file in files))
        found = list_folder(root)
        rows = [
            {"path": path, "label": found.class_names[label]}
            | ({"split": found.splits[n]} if found.splits else {})
            for n, (path, label) in enumerate(zip(found.paths, found.labels, strict=True))
        ]
        if parquet:
            table = root / "t.parquet"
            pd.DataFrame(rows).to_parquet(table)
        else:
            table = root / "t.csv"
            with table.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        same = list_table(table)
    assert same.paths == found.paths
    assert same.class_names == found.class_names
    assert same.labels.tolist() == found.labels.tolist()
    assert same.splits == found.splits
    assert len(found.paths) == sum(len(files) for _, files in classes) * max(len(splits), 1)


@given(
    before=st.text("a .-é名", max_size=3),
    numbers=st.lists(st.integers(0, 10**30), unique=True),
    after=st.sampled_from(["", ".png", "a"]),
)
def test_numbers_in_names_are_sorted_as_numbers(
    before: str, numbers: list[int], after: str
) -> None:
    names = [f"{before}{number}{after}" for number in numbers]
    assert sorted(names, key=natural_key) == [
        f"{before}{number}{after}" for number in sorted(numbers)
    ]


@given(st.lists(st.text("a0123 9.\0é", max_size=6)))
def test_the_order_of_names_does_not_depend_on_where_they_were_found(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)
    without_numbers = [name for name in names if not any(char.isdigit() for char in name)]
    assert sorted(without_numbers, key=natural_key) == sorted(without_numbers)
