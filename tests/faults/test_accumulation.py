"""A run whose steps take several batches is exact after a kill, and so is one out of time."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Cli, runs_in
from tests.helpers import faults
from tests.helpers.runs import RUN, Outcome, outcome, with_store

# An epoch of 11 batches has steps of 4, 4 and 3.
PRECISION = "trainer.precision=32-true"  # a probe may choose another one on a busy machine
ACCUMULATED = ("trainer.accumulate_grad_batches=4", "scheduler=cosine", PRECISION)
Whole = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("fault", "signum", "count"),
    [
        (faults.signal_in_training, signal.SIGKILL, 7),
        pytest.param(faults.signal_in_training, signal.SIGTERM, 14, marks=pytest.mark.slow),
        pytest.param(faults.signal_in_training, signal.SIGTERM, 20, marks=pytest.mark.slow),
        pytest.param(faults.signal_in_training, signal.SIGKILL, 12, marks=pytest.mark.slow),
        pytest.param(faults.signal_in_training, signal.SIGINT, 11, marks=pytest.mark.slow),
        pytest.param(faults.signal_in_validation, signal.SIGKILL, 2, marks=pytest.mark.slow),
        pytest.param(faults.signal_in_validation, signal.SIGTERM, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_within_a_step(
    undisturbed: Whole, tmp_path: Path, fault: Any, signum: int, count: int
) -> None:
    log = tmp_path / "log.txt"
    code = faults.run_train((*RUN, *ACCUMULATED, *with_store(tmp_path)), log, fault, signum, count)
    assert code == (-signum if signum == signal.SIGKILL else 128 + signum), log.read_text()
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 0, log.read_text()
    assert outcome(tmp_path).differences(undisturbed(*ACCUMULATED)) == []


def test_out_of_time_and_resumed_equals_the_undisturbed_run(
    undisturbed: Whole, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    code = faults.run_train(
        (*RUN, PRECISION, "trainer.max_time=0.0001", *with_store(tmp_path)), log
    )
    assert code == 124, log.read_text()
    assert "stopped by trainer.max_time=0.0001" in log.read_text()
    assert "resume with: " in log.read_text()
    (run,) = runs_in(tmp_path)
    assert run.info.status == "KILLED"
    # Each call makes a step, however little time it has.
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 124, log.read_text()
    assert "resuming at epoch 1 of 3, after step 1 " in log.read_text()
    words = ("resume=last", "trainer.max_time=null", *with_store(tmp_path))
    assert faults.run_train(words, log) == 0, log.read_text()
    assert outcome(tmp_path).differences(undisturbed(PRECISION)) == []


def test_a_step_of_four_batches_is_that_of_one_batch_four_times_as_large(
    cli: Cli, tmp_path: Path
) -> None:
    found = []
    for name, size, parts in (("small", 100, 4), ("large", 400, 1)):
        (tmp_path / name).mkdir()
        words = (
            *(word for word in RUN if not word.startswith(("trainer.max", "data.batch"))),
            "optimizer=sgd", "model.conv_dropout=0", "model.dense_dropout=0",
            f"data.batch_size={size}", f"trainer.limit_train_batches={parts}",
            f"trainer.accumulate_grad_batches={parts}", "trainer.max_epochs=2",
            PRECISION,
        )  # fmt: skip
        result = cli("train.py", *words, *with_store(tmp_path / name))
        assert result.code == 0, result.err
        found.append(outcome(tmp_path / name).weights)
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.accumulate_grad_batches=0", "greater than or equal to 1"),
        ("trainer.accumulate_grad_batches=1.5", "integer"),
        ("trainer.max_time=0", "greater than 0"),
        ("trainer.max_time=soon", "number"),
        ("trainer.compile=1", "boolean"),
    ],
)
def test_bad_settings_are_one_line(cli: Cli, tmp_path: Path, word: str, said: str) -> None:
    result = cli("train.py", "data=digits", "trainer=cpu", word, *with_store(tmp_path))
    assert result.code == 2
    assert result.err.startswith(f"error: {word}: ")
    assert said in result.err
    assert result.err.count("\n") == 1


def test_a_sweep_refuses_a_limit_of_its_trials(cli: Cli, tmp_path: Path) -> None:
    words = ("-m", "data=digits", "seed=1,2", "trainer.max_time=9", *with_store(tmp_path))
    result = cli("train.py", *words)
    assert result.code == 2
    assert "trainer.max_time=9: is not for sweeps; sweep.trial_timeout" in result.err


def test_compiling_needs_a_compiler(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    words = ("data=digits", "trainer=cpu", "trainer.compile=true", *with_store(tmp_path))
    result = cli("train.py", *words)
    assert result.code == 2
    assert "trainer.compile=true: torch.compile needs a C++ compiler" in result.err


@pytest.mark.slow
def test_a_compiled_network_is_the_same_one_and_resumes(undisturbed: Whole, tmp_path: Path) -> None:
    words, log = ("trainer.compile=true", PRECISION), tmp_path / "log.txt"
    code = faults.run_train(
        (*RUN, *words, *with_store(tmp_path)), log, faults.signal_in_training, signal.SIGKILL, 17
    )
    assert code == -signal.SIGKILL, log.read_text()
    assert faults.run_train(("resume=last", *with_store(tmp_path)), log) == 0, log.read_text()
    compiled, plain = undisturbed(*words), undisturbed(PRECISION)
    assert outcome(tmp_path).differences(compiled) == []
    assert compiled.weights.keys() == plain.weights.keys()
    # Kernels that round differently drift apart during training, so the first epoch is compared.
    for name in ("train/loss", "val/loss"):
        assert compiled.metrics[name][0] == pytest.approx(plain.metrics[name][0], rel=0.01)
