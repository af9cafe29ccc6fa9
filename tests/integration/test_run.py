"""A run is checked from the command line to what MLflow holds.

Most tests share one real run.
"""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.conftest import (
    FINISHED_SETTINGS,
    SMALL,
    Cli,
    Finished,
    artifacts_of,
    in_folder,
    run_process,
    runs_in,
)
from tests.helpers.servers import Server

METRICS = {
    "train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc", "best/epoch",
    "best/val_acc", "best/val_loss",
    "time/epoch_s", "time/fit_s", "time/first_step_s", "speed/samples_per_s", "lr",
}  # fmt: skip


# One worker runs these tests, so that the run that they share is trained once.
shares_a_run = pytest.mark.xdist_group("finished run")


@shares_a_run
class TestFinishedRun:
    def test_ends_with_a_summary(self, finished: Finished) -> None:
        out, run = finished.result.out, finished.run
        assert f"test accuracy  {run.data.metrics['test/acc']:.2%}" in out
        assert f"best epoch     {run.data.metrics['best/epoch']:.0f} of 2" in out
        assert f"python src/evaluate.py run={run.info.run_id}" in out
        assert run.info.run_name in out
        assert out.count("\nepoch ") == 2

    def test_is_quiet_otherwise(self, finished: Finished) -> None:
        assert finished.result.err == ""

    def test_has_its_status_and_is_named_by_what_differs(self, finished: Finished) -> None:
        assert finished.run.info.status == "FINISHED"
        assert (
            finished.run.info.run_name
            == "digits affine adadelta cosine cpu quick filters=16 max_epochs=2 seed=3"
        )

    def test_has_every_setting_that_a_user_varies(self, finished: Finished) -> None:
        params = finished.run.data.params
        expected = {
            "data": "digits",
            "model": "keras_cnn",
            "model.filters": "16",
            "optimizer.lr": "1.0",
            "seed": "3",
            "scheduler": "cosine",
        }
        assert expected.items() <= params.items()
        assert 25 <= len(params) <= 65
        assert not [name for name in params if "_target_" in name]

    def test_has_metrics_by_epoch(self, finished: Finished) -> None:
        metrics = set(finished.run.data.metrics)
        assert metrics >= METRICS
        assert {name for name in metrics - METRICS if not name.startswith("system/")} == set()
        client = MlflowClient(f"sqlite:///{finished.folder}/mlflow.db")
        history = client.get_metric_history(finished.run.info.run_id, "val/acc")
        assert [point.step for point in history] == [1, 2]
        assert client.get_metric_history(finished.run.info.run_id, "test/acc")[0].step == 2

    def test_has_tags_to_repeat_it(self, finished: Finished) -> None:
        tags = finished.run.data.tags
        assert tags["command"].startswith(
            "python src/train.py data=digits debug=quick trainer=cpu model.filters=16 seed=3"
        )
        assert len(tags["git.commit"]) == 40
        assert tags["git.dirty"] in ("true", "false")
        assert tags["version.torch"]
        assert tags["precision"] in ("32-true", "bf16-mixed")

    def test_has_its_artifacts_once(self, finished: Finished) -> None:
        artifacts = artifacts_of(finished.folder, finished.run)
        assert artifacts == {
            "config/config.yaml", "config/overrides.yaml", "config/requirements.txt",
            "log/train.log", "log/journal.jsonl", "pictures/confusion_matrix.png",
            "pictures/learning_curves.png", "pictures/worst_images.png",
            "pictures/calibration.png", "pictures/confused_classes.png",
            "pictures/augmented_images.png",
            "test/classes.csv", "test/intervals.json", "test/predictions.csv",
            "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        }  # fmt: skip
        assert not list((finished.folder / "out").rglob("*.ckpt"))

    def test_keeps_its_config_unresolved(self, finished: Finished) -> None:
        client = MlflowClient(f"sqlite:///{finished.folder}/mlflow.db")
        text = Path(
            client.download_artifacts(finished.run.info.run_id, "config/config.yaml")
        ).read_text()
        assert "filters: 16" in text
        assert "_target_: tunebook.networks.KerasCNN" in text

    def test_has_its_data_as_inputs_with_digests(self, finished: Finished) -> None:
        inputs = finished.run.inputs.dataset_inputs
        found = {
            item.dataset.name: (item.tags[0].value, json.loads(item.dataset.profile)["images"])
            for item in inputs
        }
        assert found == {
            "digits train": ("training", 1293),
            "digits val": ("validation", 144),
            "digits test": ("testing", 360),
        }
        assert all(len(item.dataset.digest) == 16 for item in inputs)

    def test_tells_no_secret_anywhere(self, finished: Finished) -> None:
        for path in finished.folder.rglob("*"):
            if path.is_file():
                assert b"hunter2" not in path.read_bytes(), path

    def test_pictures_are_pictures(self, finished: Finished) -> None:
        import matplotlib.image

        for path in finished.folder.rglob("*.png"):
            picture = matplotlib.image.imread(path)
            assert min(picture.shape[:2]) > 200
            assert picture[..., :3].std() > 0.05  # the picture is not blank

    def test_its_model_takes_any_batch_in_eval_mode(self, finished: Finished) -> None:
        import mlflow.pyfunc

        mlflow.set_tracking_uri(f"sqlite:///{finished.folder}/mlflow.db")
        model = mlflow.pyfunc.load_model(f"runs:/{finished.run.info.run_id}/model")
        assert model.metadata.signature is not None
        images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), dtype=np.uint8)
        whole = model.predict(images)
        assert whole.shape == (7, 10)
        assert np.allclose(whole.sum(1), 1, atol=1e-5)
        assert np.array_equal(whole, model.predict(images))  # dropout is off
        for size in (1, 2, 5):
            assert np.allclose(model.predict(images[:size]), whole[:size], atol=1e-5)
        files = {path.name for path in finished.folder.rglob("*") if path.is_file()}
        assert "model.pt2" in files
        assert not [name for name in files if name.endswith((".pth", ".pkl"))]

    def test_is_tested_again_to_the_last_digit(self, finished: Finished, cli: Cli) -> None:
        run_id, uri = (
            finished.run.info.run_id,
            f"tracking.uri=sqlite:///{finished.folder}/mlflow.db",
        )
        result = cli("evaluate.py", f"run={run_id}", uri)
        assert result.code == 0
        assert result.out.count("the same as recorded") == 2
        assert str(finished.run.data.metrics["test/loss"]) in result.out
        best = cli("evaluate.py", f"run={run_id}", uri, "weights=best")
        assert best.code == 0
        assert "best epoch's weights" in best.out

    def test_is_in_the_comparison(self, finished: Finished, cli: Cli) -> None:
        result = cli(
            "compare.py",
            f"tracking.uri=sqlite:///{finished.folder}/mlflow.db",
            "experiment_name=debug",
            "report=false",
        )
        assert result.code == 0
        assert re.search(
            rf"^1 +1 +{100 * finished.run.data.metrics['best/val_acc']:.2f} %.* "
            rf"{100 * finished.run.data.metrics['test/acc']:.2f} %",
            result.out,
            re.M,
        )


@shares_a_run
def test_the_same_command_gives_the_same_bits_in_another_process(
    finished: Finished, tmp_path: Path
) -> None:
    import torch

    assert run_process("train.py", *SMALL, *FINISHED_SETTINGS, *in_folder(tmp_path)).code == 0
    (again,) = runs_in(tmp_path)
    timed = ("time/", "speed/", "system/")
    first = {k: v for k, v in finished.run.data.metrics.items() if not k.startswith(timed)}
    assert first == {k: v for k, v in again.data.metrics.items() if not k.startswith(timed)}
    weights = []
    for folder in (finished.folder, tmp_path):
        (path,) = folder.rglob("last.ckpt")
        weights.append(torch.load(path, weights_only=True)["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_initial_weights_depend_on_the_seed_and_nothing_else(cli: Cli, tmp_path: Path) -> None:
    """The initial weights depend on the seed and not on the number of loader workers.

    seed=0 is a seed like any other.
    """
    import torch

    found = {}
    for name, overrides in {
        "0": ["seed=0"],
        "0 again": ["seed=0", "data.num_workers=2"],
        "1": ["seed=1"],
    }.items():
        folder = tmp_path / name
        assert (
            cli("train.py", *SMALL, "tracking=off", f"hydra.run.dir={folder}", *overrides).code == 0
        )
        found[name] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)[
            "state_dict"
        ]["network.layers.0.weight"]
    assert torch.equal(found["0"], found["0 again"])
    assert not torch.equal(found["0"], found["1"])


def test_without_tracking_nothing_is_written_but_the_runs_folder(cli: Cli, tmp_path: Path) -> None:
    result = cli(
        "train.py",
        *SMALL,
        "tracking=off",
        f"outputs={tmp_path}",
        f"hydra.run.dir={tmp_path}/out",
        "callbacks=early_stopping",
        "model=mlp",
    )
    assert result.code == 0
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "out/run.json", "out/.run.lock", "out/train.log", "out/checkpoints/best.ckpt",
        "out/checkpoints/last.ckpt",
    }  # fmt: skip


def test_a_run_that_fails_says_so_everywhere(cli: Cli, tmp_path: Path) -> None:
    result = cli("train.py", *SMALL, *in_folder(tmp_path), "optimizer=sgd", "optimizer.lr=1e30")
    assert result.code == 1
    assert result.err.startswith("error: NonFiniteLoss: the loss became")
    assert result.err.count("\n") == 1
    (run,) = runs_in(tmp_path)
    assert run.info.status == "FAILED"
    assert {"log/traceback.txt", "log/train.log", "config/config.yaml"} <= artifacts_of(
        tmp_path, run
    )


# Without what takes most of a small run's time.
NO_EXPORT = ("tracking.save_model=false", "tracking.save_pictures=false")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_is_killed_everywhere(tmp_path: Path, signum: int, code: int) -> None:
    from tests.helpers import faults
    from tests.helpers.runs import RUN, with_store

    log = tmp_path / "log.txt"
    process = faults.start_train((*RUN, *with_store(tmp_path), "trainer.max_epochs=5000"), log)
    assert process.pid
    faults.wait_for(lambda: log.exists() and "epoch " in log.read_text())
    start = time.monotonic()
    os.kill(process.pid, signum)
    process.join(60)
    assert process.exitcode == code
    assert time.monotonic() - start < 5
    assert "Traceback" not in log.read_text()
    (run,) = runs_in(tmp_path)
    assert run.info.status == "KILLED"
    assert run.data.metrics["val/acc"] > 0  # no metric that was computed is lost
    assert {"log/train.log", "checkpoints/last.ckpt"} <= artifacts_of(tmp_path, run)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Two processes of trainer=ddp compute what one process computes.

    Each takes half of each batch, and there is no dropout.
    """
    found = {}
    # SGD, since Adadelta first divides by tiny averages, which enlarges rounding errors.
    plain = (
        "optimizer=sgd",
        "model.conv_dropout=0",
        "model.dense_dropout=0",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=10",
    )
    for name, trainer in {
        "one": ["trainer=cpu"],
        "two": ["trainer=ddp", "trainer.accelerator=cpu"],
    }.items():
        folder = tmp_path / name
        result = run_process(
            "train.py", "data=digits", "debug=quick", *trainer, *plain, *in_folder(folder)
        )
        assert result.code == 0, result.err
        (found[name],) = runs_in(folder)
    for metric in ("train/loss", "val/loss", "val/acc", "test/loss", "test/acc"):
        assert found["two"].data.metrics[metric] == pytest.approx(
            found["one"].data.metrics[metric], rel=1e-4
        ), metric


@pytest.mark.slow
def test_a_tracking_server_gets_everything_too(tmp_path: Path, cli: Cli) -> None:
    """A real tracking server on loopback receives everything, artifacts included."""
    with Server(tmp_path) as server:
        result = run_process(
            "train.py", *SMALL, f"tracking.uri={server.uri}", f"outputs={tmp_path}/out"
        )
        assert result.code == 0, result.err
        (run_id,) = re.findall(r"evaluate\.py run=(\w+)", result.out)
        again = cli("evaluate.py", f"run={run_id}", f"tracking.uri={server.uri}")
        assert again.code == 0
        assert again.out.count("the same as recorded") == 2
        assert MlflowClient(server.uri).get_run(run_id).info.status == "FINISHED"
        assert list((tmp_path / "artifacts").rglob("model.pt2"))


@pytest.mark.slow
def test_the_notebook_learns_mnist(tmp_path: Path) -> None:
    """Two epochs of the notebook's experiment reach its accuracy on MNIST.

    The notebook's second epoch has val_acc 0.98. This needs the network once, for MNIST.
    """
    result = run_process(
        "train.py", "experiment=keras_notebook", "trainer.max_epochs=2", *in_folder(tmp_path)
    )
    assert result.code == 0, result.err
    (run,) = runs_in(tmp_path)
    assert run.data.metrics["test/acc"] > 0.978
    assert "best/val_acc" not in run.data.metrics  # no epoch is chosen by a test metric
