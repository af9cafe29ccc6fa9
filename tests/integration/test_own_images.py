"""Runs on a folder or a table of the user's own images keep every promise of other runs."""

import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from sklearn.datasets import load_digits

import tunebook
from tests.conftest import ROOT, Cli, artifacts_of, runs_in
from tests.helpers import faults, photographs
from tests.helpers.runs import RUN, Outcome, outcome, with_store
from tunebook.data.sources import TorchvisionFiles
from tunebook.sweeps import points

OWN = tuple(word for word in RUN if not word.startswith("data="))
METRICS = ("train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the images of data=digits as files, in the same order and splits."""
    folder = tmp_path_factory.mktemp("digits")
    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    splits = ["test" if number % 5 == 0 else "train" for number in range(len(pixels))]
    write_images(folder, pixels, bunch.target, splits)
    return folder


def write_images(
    folder: Path, pixels: npt.NDArray[np.uint8], labels: Iterable[int], splits: Iterable[str]
) -> None:
    """Write grey images (N, H, W) as PNG files, `folder/images/<split>/<label>/<number>.png`.

    `folder/labels.csv` lists them in their order.
    """
    rows = ["path,label,split"]
    for number, (image, label, split) in enumerate(zip(pixels, labels, splits, strict=True)):
        path = folder / "images" / split / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        rows.append(f"{path.relative_to(folder)},{label},{split}")
    (folder / "labels.csv").write_text("\n".join(rows))


def source_of(written: Path, tmp_path: Path, kind: str = "folder") -> tuple[str, ...]:
    """Return the overrides for the images that `write_images` wrote to a folder."""
    place = (
        f"data.root={written}/images" if kind == "folder" else f"data.table={written}/labels.csv"
    )
    return (f"data=image_{kind}", place, f"data.cache_root={tmp_path}/cache")


def histories(folder: Path) -> dict[str, Any]:
    """Return every value of the metrics of the only run in a folder's store."""
    (run,) = runs_in(folder)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return {
        name: [
            (point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)
        ]
        for name in METRICS
    }


@pytest.fixture(scope="session")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Outcome]:
    """Return what a run on data=digits gives."""
    folder = tmp_path_factory.mktemp("in_memory")
    assert faults.run_train((*RUN, *with_store(folder)), folder / "log.txt") == 0
    return histories(folder), outcome(folder)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("folder", ()),
        ("table", ("data.cache=none", "data.num_workers=2")),
        pytest.param("folder", ("data.cache=none",), marks=pytest.mark.slow),
        pytest.param("table", ("data.cache=disk", "data.num_workers=1"), marks=pytest.mark.slow),
    ],
)
def test_files_train_to_the_same_bits_as_the_data_set_in_memory(
    in_memory: tuple[dict[str, Any], Outcome],
    digits: Path,
    cli: Cli,
    tmp_path: Path,
    kind: str,
    more: tuple[str, ...],
) -> None:
    words = (*OWN, *source_of(digits, tmp_path, kind), *more, *with_store(tmp_path))
    result = cli("train.py", *words)
    assert result.code == 0, result.err
    assert histories(tmp_path) == in_memory[0]
    (run,) = runs_in(tmp_path)
    assert "data/split.csv" in artifacts_of(tmp_path, run)
    decoded = "decoded 1,797 images" in result.out
    assert decoded == ("data.cache=none" not in more)


@pytest.mark.slow
def test_mnist_as_files_trains_to_the_same_bits(cli: Cli, tmp_path: Path) -> None:
    """An epoch on all of MNIST gives the same weights and metrics from PNG files as from memory.

    The 70,000 files are read as a folder, then as a CSV file. This needs the network once, for
    MNIST.
    """
    sets = TorchvisionFiles("MNIST").load(ROOT / "data")
    assert isinstance(sets.train_images, torch.Tensor)
    assert isinstance(sets.test_images, torch.Tensor)
    write_images(
        tmp_path,
        torch.cat([sets.train_images, sets.test_images]).squeeze(1).numpy(),
        torch.cat([sets.train_labels, sets.test_labels]).tolist(),
        ["train"] * len(sets.train_labels) + ["test"] * len(sets.test_labels),
    )
    settings = [word for word in OWN if "checkpoint_every_s" not in word]
    found: list[Outcome] = []
    for source in (
        ("data=mnist",),
        source_of(tmp_path, tmp_path),
        source_of(tmp_path, tmp_path, "table"),
    ):
        folder = tmp_path / f"run {len(found)}"
        folder.mkdir()
        result = cli("train.py", *settings, "trainer.max_epochs=1", *source, *with_store(folder))
        assert result.code == 0, result.err
        found.append(outcome(folder))
    in_memory, as_folder, as_table = found
    assert set(METRICS) <= set(in_memory.metrics)
    assert as_folder.differences(in_memory) == []
    assert as_table.differences(in_memory) == []


@pytest.mark.parametrize(
    ("count", "more"),
    [(18, ("data.cache=none", "data.num_workers=1")),
     pytest.param(5, (), marks=pytest.mark.slow),
     pytest.param(22, ("data.sampler=balanced", "data.normalize=dataset"), marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_killed_run_is_resumed_to_the_bit(
    digits: Path, tmp_path: Path, count: int, more: tuple[str, ...]
) -> None:
    words = (*OWN, *source_of(digits, tmp_path), *more)
    log = tmp_path / "log.txt"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert faults.run_train((*words, *with_store(whole)), log) == 0
    at = faults.signal_in_training, signal.SIGKILL, count
    code = faults.run_train((*words, *with_store(killed)), log, *at)
    assert code == -signal.SIGKILL
    assert faults.run_train(("resume=last", *with_store(killed)), log) == 0, log.read_text()
    assert outcome(killed).differences(outcome(whole)) == []


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of crops of six photographs. pip needs the network for them."""
    folder = tmp_path_factory.mktemp("crops")
    photographs.write_crops(photographs.download(folder), folder / "photos")
    return folder / "photos"


def of_photographs(crops: Path, tmp_path: Path) -> tuple[str, ...]:
    """Return the overrides of a run of 3 epochs, each of 11 steps."""
    return (
        *(word for word in OWN if "batch_size" not in word), "data.batch_size=32",
        "data=image_folder", f"data.root={crops}", f"data.cache_root={tmp_path}/cache",
        "data.image_size=32", "data.resize=crop", "data.normalize=dataset", "augmentation=affine",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("data.cache=none", "data.num_workers=2")], ids=str)
def test_a_killed_run_on_photographs_is_resumed_to_the_bit(
    crops: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    words, log = (*of_photographs(crops, tmp_path), *more), tmp_path / "log.txt"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert faults.run_train((*words, *with_store(whole)), log) == 0, log.read_text()
    in_second_epoch = faults.signal_in_training, signal.SIGKILL, 16
    code = faults.run_train((*words, *with_store(killed)), log, *in_second_epoch)
    assert code == -signal.SIGKILL
    log.unlink()
    assert faults.run_train(("resume=last", *with_store(killed)), log) == 0, log.read_text()
    assert "resuming at epoch 2 of 3" in log.read_text()
    assert outcome(killed).differences(outcome(whole)) == []


@pytest.mark.slow
def test_two_workers_of_a_sweep_decode_photographs_once(
    crops: Path, cli: Cli, tmp_path: Path
) -> None:
    result = cli(
        "train.py", "-m", *of_photographs(crops, tmp_path), "optimizer=adam,sgd", "seed=1,2",
        "sweep.workers=2", "sweep.threads=1", *with_store(tmp_path),
    )  # fmt: skip
    assert result.code == 0, result.err
    trials = [run for run in runs_in(tmp_path) if "sweep.trial" in run.data.tags]
    assert [run.info.status for run in trials] == ["FINISHED"] * 4
    logs = "".join(path.read_text() for path in (tmp_path / "out").rglob("train.log"))
    images = len(photographs.PICTURES) * (photographs.TRAIN + photographs.TEST)
    assert logs.count(f"decoded {images} images") == logs.count("decoded ") == 1
    assert len(list((tmp_path / "cache").glob("*.images"))) == 1


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tunebook.Run:
    """Return a run on photographs of three channels that are resized and normalized."""
    folder = tmp_path_factory.mktemp("trained")
    settings = [word for word in OWN if "save_model" not in word]
    return tunebook.train(
        *settings, *source_of(digits, folder), "data.image_size=[12,10]", "data.channels=3",
        "data.resize=pad", "data.normalize=dataset", "trainer.max_epochs=1", *with_store(folder),
    )  # fmt: skip


def test_predictions_need_no_data_and_are_those_of_the_exported_model(
    trained: tunebook.Run, tmp_path: Path
) -> None:
    import mlflow.pyfunc

    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    row = trained.predict(tmp_path / "photo.png").iloc[0, 1:].to_numpy(dtype=np.float32)
    store = next(word for word in trained.source if word.startswith("tracking.uri="))
    mlflow.set_tracking_uri(store.partition("=")[2])
    model = mlflow.pyfunc.load_model(f"runs:/{trained.id}/model")
    assert np.allclose(model.predict(pixels[None]), row, atol=1e-6)
    with pytest.raises(Exception, match="uint8"):
        model.predict(pixels[None] / 255)


def test_evaluate_says_that_it_needs_the_place_of_the_images(
    trained: tunebook.Run, digits: Path, cli: Cli, tmp_path: Path
) -> None:
    store = next(word for word in trained.source if word.startswith("tracking.uri="))
    result = cli("evaluate.py", f"run={trained.id}", store)
    assert result.code == 2
    assert result.err.startswith("error: data_root is required: the folder of the images")
    moved = shutil.copytree(digits / "images", tmp_path / "moved")
    result = cli("evaluate.py", f"run={trained.id}", store, f"data_root={moved}")
    assert result.out.count("the same as recorded") == 2, result
    shutil.rmtree(moved / "train" / "9")
    shutil.rmtree(moved / "test" / "9")
    result = cli("evaluate.py", f"run={trained.id}", store, f"data_root={moved}")
    assert result.code == 2
    assert (
        "holds images of the classes 0, 1, 2, 3, 4 and 4 more; the run was trained on" in result.err
    )


@pytest.mark.slow
def test_the_trials_of_a_sweep_decode_the_images_once(
    digits: Path, cli: Cli, tmp_path: Path
) -> None:
    words = (
        *OWN,
        *source_of(digits, tmp_path),
        "optimizer=adam,sgd",
        "data.normalize=none,dataset",
    )
    result = cli(
        "train.py", "-m", *words, "sweep.workers=2", "sweep.threads=1", *with_store(tmp_path)
    )
    assert result.code == 0, result.err
    logs = [path.read_text() for path in (tmp_path / "out").rglob("train.log")]
    assert len(logs) >= 4
    assert sum(log.count("decoded 1,797 images") for log in logs) == 1
    result = cli("compare.py", "sweep=last", *with_store(tmp_path))
    assert result.code == 0
    assert "normalize" in result.out
    # The same command finds its sweep; one on other images is another sweep.
    other = shutil.copytree(digits / "images", tmp_path / "other")
    elsewhere = [word if "data.root" not in word else f"data.root={other}" for word in words]
    (name,) = {run.data.tags["sweep.name"] for run in runs_in(tmp_path)}
    assert points.read(words)[0].name == name
    assert points.read(elsewhere)[0].name != name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=image_folder"], "data.root"),
        (["data=image_table"], "data.table"),
        (["data=image_folder", "data.root=nowhere"], "data.root=/"),
        (["data=image_folder", "data.root=digits", "data.resize=crp"], "Did you mean 'crop'"),
        (["data=image_folder", "data.root=digits", "data.image_size=0"], "data.image_size=0"),
        (["data=image_folder", "data.root=digits", "data.image_size=[8]"], "data.image_size=[8]"),
        (["data=image_folder", "data.root=digits", "data.channels=2"], "data.channels=2"),
        (["data=image_folder", "data.root=digits", "data.normalize=imagenet"], "data.channels=3"),
        (["data=image_folder", "data.root=digits", "data.corrupt=skp"], "Did you mean 'skip'"),
        (["data=image_folder", "data.root=digits", "data.test_fraction=1"], "data.test_fraction=1"),
        (["data=digits", "+data.cache=disk"], "data.cache"),
    ],
    ids=str,
)
def test_bad_settings_are_one_line(
    digits: Path, cli: Cli, tmp_path: Path, words: list[str], said: str
) -> None:
    words = [
        word.replace("=digits", f"={digits}/images") if "root" in word else word for word in words
    ]
    places = () if "data=digits" in words else (f"data.cache_root={tmp_path}/cache",)
    outputs = tmp_path / "made"
    result = cli(
        "train.py",
        *OWN,
        *words,
        *places,
        f"outputs={outputs}",
        f"tracking.uri=sqlite:///{outputs}/m.db",
    )
    assert result.code == 2, result
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not outputs.exists()
