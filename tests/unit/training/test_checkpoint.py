"""A checkpoint is either complete or not used, and reading one never runs code."""

import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.helpers import faults
from tunebook.training import checkpoint
from tunebook.training.checkpoint import LAST, PREVIOUS, CheckpointError

CONTENT: dict[str, Any] = {
    "state_dict": {"w": torch.arange(12.0).reshape(3, 4)},
    "tunebook": {"text": "é", "n": [1, 2.5, None, True]},
}


def test_comes_back_as_it_was_and_is_one_that_torch_reads(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / LAST, CONTENT)
    for found in (checkpoint.read(tmp_path / LAST), torch.load(tmp_path / LAST, weights_only=True)):
        assert found["tunebook"] == CONTENT["tunebook"]
        assert torch.equal(found["state_dict"]["w"], CONTENT["state_dict"]["w"])


def test_one_flipped_bit_is_noticed_wherever_it_is() -> None:
    data = bytearray(checkpoint.encode(CONTENT))
    draw = random.Random(0)
    for bit in draw.sample(range(8 * len(data)), 1000):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CheckpointError):
            checkpoint.decode(bytes(data), "x")
        data[bit // 8] ^= 1 << bit % 8
    checkpoint.decode(bytes(data), "x")


@given(kept=st.floats(0, 1, exclude_max=True), more=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_a_file_cut_short_or_grown_is_noticed(kept: float, more: bytes) -> None:
    data = checkpoint.encode(CONTENT)
    for wrong in (
        data[: int(kept * len(data))],
        data[: int(kept * len(data))] + more,
        *([data + more] if more else []),
    ):
        if wrong != data:
            with pytest.raises(CheckpointError):
                checkpoint.decode(wrong, "x")


def test_the_one_before_is_used_and_said(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.write(tmp_path / LAST, CONTENT | {"step": step}, keep=tmp_path / PREVIOUS)
    data = bytearray((tmp_path / LAST).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / LAST).write_bytes(data)
    path, content, problems = checkpoint.newest(tmp_path)
    assert (path.name, content["step"]) == (PREVIOUS, 1)
    assert len(problems) == 1
    assert "last.ckpt: is damaged" in problems[0]


class Hostile:
    """Run a shell command on being unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("variable", [None, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
@pytest.mark.filterwarnings("ignore:.*TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD.*")
def test_a_file_that_would_run_code_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    (tmp_path / "x.ckpt").write_bytes(
        checkpoint.encode({"state_dict": {"w": Hostile(tmp_path / "run")}})
    )
    with pytest.raises(CheckpointError, match="more than plain values"):
        checkpoint.read(tmp_path / "x.ckpt")
    assert not (tmp_path / "run").exists()


def test_another_network_is_named() -> None:
    content = {"state_dict": {**nn.Linear(3, 2).state_dict(), "scale": torch.ones(1)}}
    with pytest.raises(
        CheckpointError,
        match=r"weight is \(2, 3\) there and \(2, 4\) here; scale is \(1,\) there and missing here",
    ):
        checkpoint.load_weights(nn.Linear(4, 2), content, "x")


def test_a_refused_write_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path / LAST, CONTENT)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(tmp_path / LAST, CONTENT | {"step": 1}, keep=tmp_path / PREVIOUS)
    assert "step" not in checkpoint.read(tmp_path / LAST)
    assert [file.name for file in tmp_path.iterdir()] == [LAST]


def write_for_ever(folder: str) -> None:
    # Where possible, temporary files are on another file system than the folder: a rename from
    # there would be a copy.
    tempfile.tempdir = "/dev/shm" if Path("/dev/shm").is_dir() else None
    torch.set_num_threads(1)
    for step in range(10**9):
        content = CONTENT | {"step": step, "ballast": torch.full((200_000,), float(step))}
        checkpoint.write(Path(folder) / LAST, content, keep=Path(folder) / PREVIOUS)


def killed_in_a_save(folder: Path, trial: int) -> None:
    folder.mkdir()
    process = faults.FORKSERVER.Process(target=write_for_ever, args=(str(folder),))
    process.start()
    faults.wait_for((folder / PREVIOUS).exists)
    time.sleep(random.Random(trial).random() * 0.05)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _, content, problems = checkpoint.newest(folder)
    assert not problems
    assert torch.equal(content["ballast"], torch.full((200_000,), float(content["step"])))
    checkpoint.remove_partial_files(folder)
    assert {file.name for file in folder.iterdir()} <= {LAST, PREVIOUS}


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_save(tmp_path: Path) -> None:
    for trial in range(6):
        killed_in_a_save(tmp_path / str(trial), trial)


@pytest.mark.slow
def test_two_hundred_kills_in_the_middle_of_a_save(tmp_path: Path) -> None:
    for trial in range(200):
        killed_in_a_save(tmp_path / str(trial), 1000 + trial)


@given(
    values=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_plain_values_come_back(values: Any) -> None:
    assert (
        checkpoint.decode(checkpoint.encode({"state_dict": {}, "values": values}), "x")["values"]
        == values
    )
