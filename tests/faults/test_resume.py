"""A run that is interrupted and resumed equals one that was not interrupted.

It has the same weights, the same metrics and one MLflow run.
"""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT, run_process
from tests.helpers import faults
from tests.helpers.runs import RUN, SAVES, STEPS, VALIDATIONS, Outcome, outcome, with_store


def interrupted(
    tmp_path: Path, settings: tuple[str, ...], fault: Callable[..., None], signum: int, count: int
) -> Outcome:
    """Return the outcome of a run that a fault ends and `resume` continues."""
    log = tmp_path / "log.txt"
    code = faults.run_train((*RUN, *settings, *with_store(tmp_path)), log, fault, signum, count)
    assert code == (-signum if signum == signal.SIGKILL else 128 + signum), log.read_text()
    code = faults.run_train(("resume=last", *with_store(tmp_path)), log)
    assert code == 0, log.read_text()
    return outcome(tmp_path)


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        (faults.signal_in_training, 1), (faults.signal_in_training, 18),
        (faults.signal_in_training, 22), (faults.signal_in_validation, 1),
        (faults.signal_in_validation, 3), (faults.signal_in_save, 24),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
def test_a_killed_run_goes_on_to_the_bit(
    undisturbed: Callable[..., Outcome], tmp_path: Path, fault: Any, count: int
) -> None:
    assert interrupted(tmp_path, (), fault, signal.SIGKILL, count).differences(undisturbed()) == []


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("fault", "count"),
    [
        (faults.signal_in_training, 11),
        (faults.signal_in_training, 16),
        (faults.signal_in_validation, 2),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_stopped_run_goes_on_to_the_bit(
    undisturbed: Callable[..., Outcome], tmp_path: Path, signum: int, fault: Any, count: int
) -> None:
    assert interrupted(tmp_path, (), fault, signum, count).differences(undisturbed()) == []


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


AVERAGED = (
    "augmentation=mixup_cutmix", "model=batchnorm_cnn", "optimizer=adam",
    "loss.class_weights=balanced", "trainer.precision=32-true",  # two probes may differ
)  # fmt: skip
EMA, LATE_EMA = ("callbacks=ema",), ("callbacks=ema", "callbacks.ema.start=0.34")
SWA = ("callbacks=swa", "callbacks.swa.start=0.34")


@pytest.mark.parametrize(
    ("averaged", "fault", "signum", "count"),
    [
        (EMA, faults.signal_in_training, signal.SIGKILL, 18),
        slow(EMA, faults.signal_in_validation, signal.SIGTERM, 2),
        slow(EMA, faults.signal_in_validation, signal.SIGKILL, 3),
        pytest.param(
            LATE_EMA, faults.signal_in_training, signal.SIGKILL, 5, marks=pytest.mark.slow
        ),
        slow(SWA, faults.signal_in_validation, signal.SIGTERM, 2),
    ],
    ids=["training", "validation", "last validation", "before the first update", "an epoch's mean"],
)
def test_a_run_with_mixed_labels_and_averaged_weights(
    undisturbed: Callable[..., Outcome],
    tmp_path: Path,
    averaged: tuple[str, ...],
    fault: Any,
    signum: int,
    count: int,
) -> None:
    words = (*AVERAGED, *averaged)
    resumed = interrupted(tmp_path, words, fault, signum, count)
    assert resumed.differences(undisturbed(*words)) == []


SETTINGS = (
    "augmentation=affine",
    "augmentation=strong loss=focal",
    "callbacks=swa callbacks.swa.start=0.34 model=batchnorm_cnn tested_weights=best",
    "callbacks=ema callbacks.ema.every=epoch trainer.precision=bf16-mixed",
    "scheduler=plateau",
    "trainer.precision=bf16-mixed",
    "callbacks=early_stopping optimizer=sgd",
    "tested_weights=best",
    "loss.label_smoothing=0.1 metrics=all objective=val/ece tested_weights=best",
    "data.num_workers=2",
    "scheduler=cosine",
    "scheduler=onecycle",
    "model=batchnorm_cnn optimizer=adam trainer.precision=32-true",
    "optimizer=nadam",
)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_whatever_the_settings(
    undisturbed: Callable[..., Outcome], tmp_path: Path, settings: str
) -> None:
    words = tuple(settings.split())
    assert (
        interrupted(tmp_path, words, faults.signal_in_training, signal.SIGKILL, 17).differences(
            undisturbed(*words)
        )
        == []
    )


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(undisturbed: Callable[..., Outcome]) -> None:
    assert undisturbed("data.num_workers=2").differences(undisturbed()) == []


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(50))
def test_killed_at_random(undisturbed: Callable[..., Outcome], tmp_path: Path, trial: int) -> None:
    draw = random.Random(trial)
    fault, most = draw.choice(
        [
            (faults.signal_in_training, STEPS),
            (faults.signal_in_validation, VALIDATIONS),
            (faults.signal_in_save, SAVES),
        ]
    )
    assert (
        interrupted(tmp_path, (), fault, signal.SIGKILL, draw.randint(1, most)).differences(
            undisturbed()
        )
        == []
    )


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
    assert (
        interrupted(
            tmp_path, settings, faults.signal_in_training, signal.SIGKILL, count
        ).differences(undisturbed(*settings))
        == []
    )


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(20))
def test_stopped_at_random(undisturbed: Callable[..., Outcome], tmp_path: Path, trial: int) -> None:
    draw = random.Random(trial)
    signum = draw.choice([signal.SIGTERM, signal.SIGINT])
    fault, most = draw.choice(
        [(faults.signal_in_training, STEPS), (faults.signal_in_validation, VALIDATIONS)]
    )
    assert (
        interrupted(tmp_path, (), fault, signum, draw.randint(1, most)).differences(undisturbed())
        == []
    )


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    """Both processes of trainer=ddp stop at the same batch, and the run is resumed.

    The signal reaches one of them, and no process stays behind.
    """
    settings = (*RUN, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=8")
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = run_process("train.py", *settings, *with_store(tmp_path / "whole"))
    assert whole.code == 0, whole.err
    log = tmp_path / "log.txt"
    command = [
        sys.executable,
        str(ROOT / "src" / "train.py"),
        *settings,
        *with_store(tmp_path / "stopped"),
    ]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    faults.wait_for(lambda: "epoch 2/8" in log.read_text(), 120)
    others = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, log.read_text()
    assert "epoch 8/8" not in log.read_text()
    assert psutil.wait_procs(others, timeout=10)[1] == []
    resumed = run_process("train.py", "resume=last", *with_store(tmp_path / "stopped"))
    assert resumed.code == 0, resumed.err
    assert outcome(tmp_path / "stopped").differences(outcome(tmp_path / "whole")) == []
