"""The loss is chosen by config; validation and test report cross-entropy whatever it is."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import tunebook
from tests.helpers.runs import RUN, with_store
from tunebook.config.compose import compose_config
from tunebook.config.run_config import RunConfig
from tunebook.config.validation import SettingError
from tunebook.losses import CrossEntropy, is_reported
from tunebook.runs.check import check

# One step, so that the training loss is that of the initial weights.
ONE_STEP = (*RUN, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "optimizer=sgd")
LOSSES = "torch.nn.modules.loss"


def test_cross_entropy_is_that_of_torch() -> None:
    logits, labels = torch.randn(7, 5), torch.randint(5, (7,))
    assert torch.equal(CrossEntropy(0.0)(logits, labels), F.cross_entropy(logits, labels))
    log_p = logits.log_softmax(1)
    smooth = -(0.9 * log_p[range(7), labels] + 0.1 * log_p.mean(1)).mean()
    assert CrossEntropy(0.1)(logits, labels) == pytest.approx(float(smooth), rel=1e-6)
    assert is_reported(CrossEntropy(0.0))
    assert not is_reported(CrossEntropy(0.1))
    assert not is_reported(torch.nn.CrossEntropyLoss())  # it may have class weights


def test_smoothing_changes_training_and_not_what_is_reported(tmp_path: Path) -> None:
    plain = tunebook.train(*ONE_STEP, *with_store(tmp_path))
    smooth = tunebook.train(*ONE_STEP, "loss.label_smoothing=0.5", *with_store(tmp_path))
    assert smooth.metrics["train/acc"] == plain.metrics["train/acc"]  # the same weights
    assert smooth.metrics["train/loss"] != plain.metrics["train/loss"]
    assert smooth.settings["loss.label_smoothing"] == "0.5"
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images[::5] * (255 / 16)).round().float() / 255
    with torch.inference_mode():
        logits = smooth.model()(pixels.unsqueeze(1))
    cross_entropy = F.cross_entropy(logits, torch.from_numpy(digits.target[::5]))
    assert smooth.metrics["test/loss"] == pytest.approx(float(cross_entropy), rel=1e-5)


def with_loss(name: str) -> RunConfig:
    overrides = ["data=digits", f"loss._target_={LOSSES}.{name}", "~loss.label_smoothing"]
    return RunConfig.of(compose_config("config", overrides))


def test_a_loss_of_torch_can_be_used() -> None:
    check(with_loss("MultiMarginLoss"))


@pytest.mark.parametrize("name", ["BCELoss", "MSELoss", "CTCLoss"])
def test_a_loss_that_does_not_take_logits_and_labels_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r"\Aloss=[^\n]+\Z"):
        check(with_loss(name))
