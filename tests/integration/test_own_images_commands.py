"""What a run on own images suggests works, and runs on different images are told apart."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli, Result, runs_in
from tests.helpers.photos import photos
from tests.helpers.runs import RUN, outcome, with_store

SETTINGS = (
    *(word for word in RUN if not word.startswith(("data", "trainer.max_epochs"))),
    "data=image_folder", "data.image_size=8",
)  # fmt: skip
PHOTOS = 45  # of each of two classes, by default


def folder_of_photos(root: Path, count: int = PHOTOS, left_out: int = 0) -> Path:
    """Write photographs of two classes, but for the first `left_out` of each."""
    for kind, name in enumerate(("china", "flower")):
        (root / name).mkdir(parents=True)
        for number, photo in enumerate(photos(kind, count + left_out, 32)):
            if number >= left_out:
                photo.save(root / name / f"{number}.png")
    return root


def train(cli: Cli, root: Path, tmp_path: Path, *words: str) -> Result:
    places = (f"data.cache_root={tmp_path}/cache", *with_store(tmp_path))
    result = cli("train.py", *SETTINGS, f"data.root={root}", *words, *places)
    assert result.code == 0, result.err
    return result


def commands_of(out: str, script: str) -> Iterator[list[str]]:
    """Yield the arguments of each command for a script that a text suggests."""
    for words in re.findall(rf"python src/{script}\.py (.*)", out):
        yield shlex.split(words)


def test_a_folder_smaller_than_a_batch_is_trained_on_and_evaluated(
    cli: Cli, tmp_path: Path
) -> None:
    root = folder_of_photos(tmp_path / "my photos")
    result = train(cli, root, tmp_path, "trainer.max_epochs=3")
    said = "data.batch_size=128 is more than the 73 training images, so that an epoch is one step"
    assert said in result.out
    assert outcome(tmp_path).optimizer[0]["step"] == 3
    (words,) = commands_of(result.out, "evaluate")
    evaluated = cli("evaluate.py", *words)
    assert evaluated.code == 0, evaluated.err
    assert evaluated.out.count("the same as recorded") == 2


@pytest.mark.slow
def test_runs_on_different_images_are_not_seeds_of_one_configuration(
    cli: Cli, tmp_path: Path
) -> None:
    words = ("trainer.max_epochs=1", "optimizer=adam")
    first = folder_of_photos(tmp_path / "a" / "photos")
    other = folder_of_photos(tmp_path / "b" / "photos", left_out=1)
    for root in (first, other):
        for seed in (1, 2):
            train(cli, root, tmp_path, *words, f"seed={seed}")
    moved = shutil.move(first, tmp_path / "moved")  # the same images elsewhere, and in another size
    train(cli, moved, tmp_path, *words, "seed=3")
    train(cli, moved, tmp_path, *words, "seed=4", "data.image_size=9")
    digests = {run.data.tags["data.images"].split()[-1][:6] for run in runs_in(tmp_path)}
    assert len(digests) == 2
    result = cli("compare.py", *with_store(tmp_path))
    assert result.code == 0, result.err
    header, *board = result.out.split("\n\n")[1].splitlines()
    assert sorted(line.split()[1] for line in board) == ["1", "2", "3"]
    assert "images" in header.split()
    assert "The runs have 2 different sets of images" in result.out
    suggested = list(commands_of(result.out, "train"))
    assert suggested
    for command in suggested:
        assert not any(word.startswith("images=") for word in command)
        (place,) = [word for word in command if word.startswith("data.root=")]
        assert place.partition("=")[2] in {str(first), str(other), str(moved)}
    paired = cli("compare.py", "paired=images", "report=false", *with_store(tmp_path))
    assert "(mean and 95 % interval of 2 pairs)" in paired.out


def test_runs_on_the_same_images_are_compared_as_before(cli: Cli, tmp_path: Path) -> None:
    root = folder_of_photos(tmp_path / "photos")
    copied = shutil.copytree(root, tmp_path / "copied")
    for seed, place in ((1, root), (2, copied)):
        train(cli, place, tmp_path, "trainer.max_epochs=1", f"seed={seed}")
    result = cli("compare.py", "report=false", *with_store(tmp_path))
    assert result.out.splitlines()[1].split()[1] == "2"
    assert "images=" not in result.out


@pytest.mark.slow
def test_the_suggested_final_sweep_trains_on_the_same_images(cli: Cli, tmp_path: Path) -> None:
    root = folder_of_photos(tmp_path / "my photos")
    search = train(
        cli, root, tmp_path, "-m", "sweep=random", "sweep.space=null", "sweep.trials=2",
        "optimizer.lr=interval(0.5, 1.5)", "trainer.max_epochs=1", "sweep.workers=1",
        "sweep.threads=1",
    )  # fmt: skip
    (words,) = [words for words in commands_of(search.out, "train") if "sweep=final" in words]
    final = cli("train.py", *words, "sweep.seeds=2", "sweep.workers=1", "sweep.threads=1")
    assert final.code == 0, final.err
    trained = [run for run in runs_in(tmp_path) if "sweep.trial" in run.data.tags]
    assert len(trained) == 4
    assert len({run.data.tags["data.images"] for run in trained}) == 1
