"""A learning rate or a batch size is suggested before a run, and a run is the same afterwards."""

import csv
import re
from pathlib import Path

import pytest

import tunebook
from tests.conftest import Cli, runs_in
from tests.helpers.photos import photos
from tests.helpers.runs import with_store
from tunebook.config.validation import SettingError

SMALL = ("data=digits", "trainer=cpu", "model=mlp", "optimizer=sgd")


def only(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"out/*/*/{name}")
    return found


def test_a_learning_rate_is_suggested_with_a_picture(cli: Cli, tmp_path: Path) -> None:
    result = cli("train.py", "find=lr", *SMALL, *with_store(tmp_path))
    assert result.code == 0, result.err
    suggested = re.search(r"suggested      optimizer\.lr=([\d.e-]+):", result.out)
    assert suggested
    # What a plain sweep finds: rates of 0.02 and 1 are better than 0.0001, and those above diverge.
    assert 0.01 < float(suggested[1]) < 2
    assert "data=digits trainer=cpu model=mlp optimizer=sgd" in result.out
    assert result.out.rstrip().endswith(f"optimizer.lr={suggested[1]}")
    assert "find=" not in result.out
    rows = list(csv.DictReader(only(tmp_path, "learning_rates.csv").read_text().splitlines()))
    rates = [float(row["lr"]) for row in rows]
    assert rates[0] == 1e-6
    assert rates == sorted(rates)
    assert only(tmp_path, "learning_rates.png").read_bytes().startswith(b"\x89PNG")
    assert runs_in(tmp_path) == []


def test_neither_a_schedule_nor_mixed_labels_nor_averages_are_in_the_way(
    cli: Cli, tmp_path: Path
) -> None:
    """A one-cycle schedule has fewer steps than the search."""
    words = ("scheduler=onecycle", "trainer.max_epochs=1", "augmentation=mixup", "callbacks=ema")
    result = cli("train.py", "find=lr", *SMALL, *words, *with_store(tmp_path))
    assert result.code == 0, result.err
    assert "scheduler=onecycle" in result.out


def test_a_loss_that_is_all_noise_suggests_nothing(cli: Cli, tmp_path: Path) -> None:
    words = ("data.batch_size=1", "trainer.limit_train_batches=50")
    result = cli("train.py", "find=lr", *SMALL, *words, *with_store(tmp_path))
    assert result.code == 2
    assert result.err.startswith("error: find=lr: the training loss falls at no learning rate")
    assert result.err.count("\n") == 1
    assert only(tmp_path, "learning_rates.png").exists()  # which shows why


def test_a_batch_size_is_suggested_with_a_picture(cli: Cli, tmp_path: Path) -> None:
    result = cli("train.py", "find=batch_size", *SMALL, *with_store(tmp_path))
    assert result.code == 0, result.err
    rows = list(csv.DictReader(only(tmp_path, "batch_sizes.csv").read_text().splitlines()))
    # Digits have 1,257 images to train on.
    assert [int(row["batch_size"]) for row in rows] == [8, 16, 32, 64, 128, 256, 512]
    speeds = {int(row["batch_size"]): float(row["images_per_s"]) for row in rows}
    suggested = re.search(r"suggested      data\.batch_size=(\d+):", result.out)
    assert suggested
    assert speeds[int(suggested[1])] * 1.06 > max(speeds.values())
    assert only(tmp_path, "batch_sizes.png").read_bytes().startswith(b"\x89PNG")
    assert runs_in(tmp_path) == []


def test_a_first_loss_that_is_not_finite_is_one_line(cli: Cli, tmp_path: Path) -> None:
    weights = ",".join(["1e38"] * 10)  # whose sum is infinite in fp32
    words = ("find=lr", f"loss.class_weights=[{weights}]")
    result = cli("train.py", *words, *SMALL, *with_store(tmp_path))
    assert result.code == 2
    assert "error: find=lr: the loss of the first step is not finite" in result.err
    assert "Traceback" not in result.err


def test_too_few_images_for_a_batch_size_are_one_line(cli: Cli, tmp_path: Path) -> None:
    """Eight images are one step, whose end is not seen."""
    for kind in (0, 1):
        (tmp_path / "photos" / f"kind{kind}").mkdir(parents=True)
        for number, photo in enumerate(photos(kind, 6)):
            photo.save(tmp_path / "photos" / f"kind{kind}" / f"{number}.png")
    parts = ("data.test_fraction=0.2", "data.val_fraction=0.3")
    words = ("data=image_folder", "data.image_size=16", f"data.root={tmp_path / 'photos'}", *parts)
    result = cli("train.py", "find=batch_size", *SMALL[1:], *words, *with_store(tmp_path))
    assert result.code == 2
    assert re.search(r"error: find=batch_size: [678] training images are too few", result.err)
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["find=lrr"], "find=lrr: must be 'lr' or 'batch_size'. Did you mean 'lr'?"),
        (["-m", "find=lr", "seed=1,2"], "find=lr: is for a single set of settings, without -m"),
        (["-m", "find=lr,batch_size"], "find=lr,batch_size: applies to the whole sweep"),
    ],
    ids=str,
)
def test_what_cannot_be_found_is_one_line(
    cli: Cli, tmp_path: Path, words: list[str], message: str
) -> None:
    result = cli("train.py", *words, *SMALL, *with_store(tmp_path))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_python_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^find=lr: is for the command line"):
        tunebook.train("find=lr", *SMALL, *with_store(tmp_path))
    assert not (tmp_path / "out").exists()
