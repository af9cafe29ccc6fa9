"""A run that is interrupted and gone on with is the run that was not: same weights, same figures, same MLflow run."""

import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from tests import faults
from tests.conftest import in_folder, runs_in
from tunebook.recovery.checkpoint import read

RUN = (
    "data=digits", "trainer=cpu", "model.filters=4", "trainer.max_epochs=3", "data.batch_size=128",
    "tracking.system_metrics=false", "tracking.save_model=false", "tracking.save_pictures=false", "checkpoint_every_s=0.001",
)  # fmt: skip
STEPS, VALIDATIONS = 33, 3  # of the run above: training batches, validation batches
TIMES = ("time/", "speed/", "system/")


@dataclass(frozen=True)
class Outcome:
    """What must come out the same to the bit."""

    weights: dict[str, torch.Tensor]
    optimizer: Any
    metrics: dict[str, list[tuple[int, float]]]

    def differences(self, other: "Outcome") -> list[str]:
        found = [name for name, value in self.weights.items() if not torch.equal(value, other.weights[name])]
        found += [name for name in {**self.metrics, **other.metrics} if self.metrics.get(name) != other.metrics.get(name)]
        for i, state in self.optimizer.items():
            found += [
                f"{i}.{key}"
                for key, value in state.items()
                if not torch.equal(torch.as_tensor(value), torch.as_tensor(other.optimizer[i][key]))
            ]
        return found


def outcome(folder: Path) -> Outcome:
    """Of the only run in a folder's store. Each point must be there once."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = runs_in(folder)
    assert run.info.status == "FINISHED"
    content = read(Path(client.download_artifacts(run.info.run_id, "checkpoints/last.ckpt", str(folder))))
    metrics = {}
    for name in run.data.metrics:
        points = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert Counter(step for step, _ in points).most_common(1)[0][1] == 1, f"{name} has a point twice: {points}"
        if not name.startswith(TIMES):
            metrics[name] = sorted(points)
    return Outcome(content["state_dict"], content["optimizer_states"][0]["state"], metrics)


def folder_of_run(folder: Path) -> Path:
    (found,) = (folder / "out").glob("*/*/run.json")
    return found.parent


def interrupted(tmp_path: Path, settings: tuple[str, ...], fault: Callable[..., None], signum: int, count: int) -> Outcome:
    """The outcome of a run that a fault ends and `resume` goes on with."""
    log = tmp_path / "log.txt"
    code = faults.run_train((*RUN, *settings, *in_folder(tmp_path)), log, fault, signum, count)
    if code == 0:
        return outcome(tmp_path)  # the moment did not come
    assert code == (-signum if signum == signal.SIGKILL else 128 + signum), log.read_text()
    code = faults.run_train(("resume=last", *in_folder(tmp_path)), log)
    assert code == 0, log.read_text()
    return outcome(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """The outcome of the run with these settings, trained once."""
    found: dict[tuple[str, ...], Outcome] = {}

    def train(*settings: str) -> Outcome:
        if settings not in found:
            folder = tmp_path_factory.mktemp("undisturbed")
            assert faults.run_train((*RUN, *settings, *in_folder(folder)), folder / "log.txt") == 0, (folder / "log.txt").read_text()
            found[settings] = outcome(folder)
        return found[settings]

    return train


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        (faults.signal_in_training, 1), (faults.signal_in_training, 18), (faults.signal_in_training, 22), (faults.signal_in_training, 33),
        (faults.signal_in_validation, 1), (faults.signal_in_validation, 3), (faults.signal_in_save, 5), (faults.signal_in_save, 24),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
def test_a_killed_run_goes_on_to_the_bit(undisturbed: Callable[..., Outcome], tmp_path: Path, fault: Any, count: int) -> None:
    assert interrupted(tmp_path, (), fault, signal.SIGKILL, count).differences(undisturbed()) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("fault", "count"),
    [(faults.signal_in_training, 11), (faults.signal_in_training, 16), (faults.signal_in_validation, 2)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_stopped_run_goes_on_to_the_bit(undisturbed: Callable[..., Outcome], tmp_path: Path, signum: int, fault: Any, count: int) -> None:
    assert interrupted(tmp_path, (), fault, signum, count).differences(undisturbed()) == []


@pytest.mark.parametrize(
    "settings",
    [
        ("augmentation=affine",), ("data.num_workers=2",), ("scheduler=cosine",), ("scheduler=plateau",), ("trainer.precision=bf16-mixed",),
        ("model=batchnorm_cnn", "optimizer=adam"), ("callbacks=early_stopping", "optimizer=sgd"), ("tested_weights=best",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_whatever_the_settings(undisturbed: Callable[..., Outcome], tmp_path: Path, settings: tuple[str, ...]) -> None:
    assert interrupted(tmp_path, settings, faults.signal_in_training, signal.SIGKILL, 17).differences(undisturbed(*settings)) == []


def test_the_number_of_workers_changes_nothing(undisturbed: Callable[..., Outcome]) -> None:
    assert undisturbed("data.num_workers=2").differences(undisturbed()) == []


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(50))
def test_killed_at_random(undisturbed: Callable[..., Outcome], tmp_path: Path, trial: int) -> None:
    draw = random.Random(trial)
    fault, most = draw.choice([(faults.signal_in_training, STEPS), (faults.signal_in_validation, VALIDATIONS), (faults.signal_in_save, 80)])
    assert interrupted(tmp_path, (), fault, signal.SIGKILL, draw.randint(1, most)).differences(undisturbed()) == []


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(10))
@pytest.mark.parametrize(
    "settings",
    [
        ("augmentation=affine",),
        ("data.num_workers=0",),
        ("data.num_workers=2",),
        ("data.num_workers=4",),
        ("trainer.precision=bf16-mixed",),
    ],
    ids=" ".join,
)
def test_killed_at_random_whatever_the_settings(
    undisturbed: Callable[..., Outcome], tmp_path: Path, settings: tuple[str, ...], trial: int
) -> None:
    count = random.Random(f"{settings} {trial}").randint(1, STEPS)
    assert interrupted(tmp_path, settings, faults.signal_in_training, signal.SIGKILL, count).differences(undisturbed(*settings)) == []


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(20))
def test_stopped_at_random(undisturbed: Callable[..., Outcome], tmp_path: Path, trial: int) -> None:
    draw = random.Random(trial)
    signum = draw.choice([signal.SIGTERM, signal.SIGINT])
    fault, most = draw.choice([(faults.signal_in_training, STEPS), (faults.signal_in_validation, VALIDATIONS)])
    assert interrupted(tmp_path, (), fault, signum, draw.randint(1, most)).differences(undisturbed()) == []
