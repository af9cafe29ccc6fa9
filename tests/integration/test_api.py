"""Training, sweeping, loading and comparing from Python gives what the command line gives."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tunebook
from tests.conftest import Cli, runs_in
from tests.helpers.runs import RUN, TIMES, in_folder, with_store
from tunebook.config.files import ConfigError
from tunebook.config.validation import InputError, SettingError
from tunebook.tracking.store import RunNotFound

ONE_LINE = r"\A[^\n]+\Z"
WITH_PICTURES = (*RUN, "tracking.save_pictures=true")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def trained(folder: Path) -> tunebook.Run:
    return tunebook.train(*WITH_PICTURES, *with_store(folder))


def figures(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(TIMES)}


def test_a_run_has_the_figures_of_the_command_line(
    trained: tunebook.Run, cli: Cli, tmp_path: Path
) -> None:
    assert cli("train.py", *WITH_PICTURES, *with_store(tmp_path)).code == 0
    (same,) = runs_in(tmp_path)
    assert figures(trained.metrics) == figures(same.data.metrics)
    assert trained.settings == same.data.params
    assert trained.name == same.info.run_name
    loaded = tunebook.load(same.info.run_id, *with_store(tmp_path))
    assert loaded.history.drop(columns=["time/epoch_s", "speed/samples_per_s"]).equals(
        trained.history.drop(columns=["time/epoch_s", "speed/samples_per_s"])
    )


def test_the_record_names_a_command_that_repeats_the_run(
    trained: tunebook.Run, folder: Path
) -> None:
    (run,) = (run for run in runs_in(folder) if run.info.run_id == trained.id)
    assert run.data.tags["command"].startswith("python src/train.py data=digits ")


def test_the_history_has_a_row_for_each_epoch(trained: tunebook.Run) -> None:
    assert list(trained.history.index) == [1, 2, 3]
    assert {"train/loss", "train/acc", "val/loss", "val/acc"} <= set(trained.history.columns)
    assert trained.history["val/acc"].max() == trained.metrics["best/val_acc"]


def test_the_model_is_the_one_that_was_tested(trained: tunebook.Run) -> None:
    assert trained.evaluate() == {
        name: value for name, value in trained.metrics.items() if name.startswith("test/")
    }
    model = trained.model()
    assert not model.training
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_pictures_are_images(trained: tunebook.Run) -> None:
    assert set(trained.pictures) == {
        "calibration", "confused_classes", "confusion_matrix", "learning_curves", "worst_images",
    }  # fmt: skip
    assert all(isinstance(picture, Image.Image) for picture in trained.pictures.values())


def test_predictions_of_files_images_and_arrays_agree(
    trained: tunebook.Run, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / f"{number}.png")
    of_folder = trained.predict(tmp_path)
    assert list(of_folder.columns) == ["class", *map(str, range(10))]
    assert of_folder.drop(columns="class").sum(axis=1).to_numpy() == pytest.approx(np.ones(3))
    for images in (
        pixels,
        pixels[..., None],
        list(pixels),
        [Image.fromarray(one) for one in pixels],
        sorted(tmp_path.glob("*.png")),
    ):
        found = trained.predict(images)
        assert (found.to_numpy() == of_folder.to_numpy()).all()
    assert len(trained.predict(Image.fromarray(pixels[0]))) == 1
    assert len(trained.predict(str(tmp_path / "0.png"))) == 1


def test_a_folder_is_predicted_past_what_cannot_be_read(
    trained: tunebook.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "in" / "b.png")
    (tmp_path / "a.png").write_text("no image")
    found = trained.predict(tmp_path)
    assert list(found.index) == [f"{tmp_path}/a.png", f"{tmp_path}/in/b.png"]
    assert found.isna().all(axis=1).tolist() == [True, False]
    assert "a.png: can't be read as an image" in caplog.text


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("nowhere.png", "images=nowhere.png: can't be read"),
        ([], "images"),
        (np.zeros((1, 8, 8), np.float32), "uint8"),
        (np.zeros((1, 1, 1, 8, 8), np.uint8), "(H, W)"),
        ([__file__], "can't be read as an image"),
    ],
)
def test_images_that_are_none(trained: tunebook.Run, images: object, said: str) -> None:
    with pytest.raises((InputError, SettingError), match=ONE_LINE) as error:
        trained.predict(images)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (("optimizer=adem",), ConfigError),
        (("optimizer.lr=-1",), SettingError),
        (("model.kernel_size=15", "data=mnist"), SettingError),
        (("resume=nothing",), InputError),
        (("nonsense",), ConfigError),
        (("seed=1,2",), ConfigError),
        (("sweep=tpe",), ConfigError),
    ],
)
def test_bad_input_is_an_exception_and_makes_nothing(
    overrides: tuple[str, ...], kind: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(kind, match=ONE_LINE):
        tunebook.train(*overrides, *in_folder(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ("seed=1",),
        ("seed=1,2", "sweep=nosuch"),
        ("model=a,b",),
        ("seed=1,2", "sweep.dry_run=true"),
    ],
)
def test_a_bad_sweep_is_an_exception_and_makes_nothing(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, SettingError, InputError), match=ONE_LINE):
        tunebook.sweep("data=digits", *overrides, *in_folder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there(trained: tunebook.Run, folder: Path) -> None:
    with pytest.raises(RunNotFound, match=r"Did you mean|the newest is"):
        tunebook.load("nosuch", *with_store(folder))
    assert tunebook.load("last", *with_store(folder)).id == trained.id
    assert tunebook.load(trained.id[:8], *with_store(folder)).id == trained.id
    with pytest.raises((InputError, SettingError)):
        tunebook.compare("sweep=nosuch", *with_store(folder))


def test_an_experiment_is_compared(trained: tunebook.Run, folder: Path) -> None:
    found = tunebook.compare(*with_store(folder))
    assert list(found.runs["id"]) == [trained.id]
    assert found.leaderboard["n"].sum() == 1
    assert found.sentences[0] in str(found)


def test_a_run_that_is_not_tracked(tmp_path: Path, trained: tunebook.Run) -> None:
    words = [word for word in RUN if not word.startswith("tracking")]
    run = tunebook.train(*words, "tracking=off", f"outputs={tmp_path}/out")
    assert run.id == ""
    assert run.metrics["test/acc"] == pytest.approx(trained.metrics["test/acc"], rel=1e-6)
    assert list(run.history.index) == [1, 2, 3]
    assert run.model()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(InputError, match="not tracked"):
        _ = run.pictures


def test_the_callers_logging_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("tunebook")
    before = log.level, log.propagate, list(log.handlers), list(logging.getLogger().handlers)
    tunebook.train(*RUN, *with_store(tmp_path))
    assert (log.level, log.propagate, log.handlers, logging.getLogger().handlers) == before
    assert "epoch 3/3" in capsys.readouterr().out


def test_a_run_in_another_thread(tmp_path: Path, trained: tunebook.Run) -> None:
    found: list[tunebook.Run] = []
    thread = threading.Thread(
        target=lambda: found.append(tunebook.train(*RUN, *with_store(tmp_path)))
    )
    thread.start()
    thread.join()
    assert figures(found[0].metrics) == figures(trained.metrics)


def test_ctrl_c_stops_a_run_that_can_be_resumed(tmp_path: Path, trained: tunebook.Run) -> None:
    def interrupt() -> None:
        while not list((tmp_path / "out").glob("2*/*/checkpoints/last.ckpt")):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        tunebook.train(*RUN, *with_store(tmp_path))
    run = tunebook.train("resume=last", *with_store(tmp_path))
    assert figures(run.metrics) == figures(trained.metrics)
    assert [one.info.run_id for one in runs_in(tmp_path)] == [run.id]


@pytest.mark.slow
def test_a_sweep_and_what_it_shows(tmp_path: Path, trained: tunebook.Run) -> None:
    places = (f"data.root={tmp_path}", f"sweep.storage=sqlite:///{tmp_path}/study.db")
    words = (*RUN, "optimizer=adam,adadelta", *places, *with_store(tmp_path))
    sweep = tunebook.sweep(*words)
    assert list(sweep.trials["state"]) == ["complete", "complete"]
    assert set(sweep.trials["optimizer"]) == {"adam", "adadelta"}
    best = sweep.best
    assert best.evaluate()["test/acc"] == best.metrics["test/acc"]
    assert best.metrics["best/val_acc"] == pytest.approx(sweep.trials["val/acc"].max())
    assert any("Best" in sentence for sentence in sweep.findings().sentences)
    adadelta = next(
        tunebook.load(run.info.run_id, *with_store(tmp_path))
        for run in runs_in(tmp_path)
        if run.data.params.get("optimizer") == "adadelta"
    )
    assert figures(adadelta.metrics) == figures(trained.metrics)
    again = tunebook.sweep(*words)  # it is over: nothing is trained again
    assert again.trials.equals(sweep.trials)
