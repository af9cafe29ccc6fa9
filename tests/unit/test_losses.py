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
from tunebook.losses import CrossEntropy, Focal, balanced, is_reported
from tunebook.runs.check import check

# One step, so that the training loss is that of the initial weights.
ONE_STEP = (*RUN, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "optimizer=sgd")
LOSSES = "torch.nn.modules.loss"


COUNTS = torch.tensor([1, 4, 0, 10, 5])
WEIGHTS = [0.5, 1.0, 2.0, 3.0, 1.5]


def cross_entropy(smoothing: float, weights: object = None) -> CrossEntropy:
    return CrossEntropy(smoothing, weights, 5, lambda: COUNTS)


def focal(gamma: float, weights: object = None) -> Focal:
    return Focal(gamma, weights, 5, lambda: COUNTS)


def test_cross_entropy_is_that_of_torch() -> None:
    logits, labels = torch.randn(7, 5), torch.randint(5, (7,))
    assert torch.equal(cross_entropy(0.0)(logits, labels), F.cross_entropy(logits, labels))
    log_p = logits.log_softmax(1)
    smooth = -(0.9 * log_p[range(7), labels] + 0.1 * log_p.mean(1)).mean()
    assert cross_entropy(0.1)(logits, labels) == pytest.approx(float(smooth), rel=1e-6)
    weighted = F.cross_entropy(logits, labels, torch.tensor(WEIGHTS))
    assert torch.equal(cross_entropy(0.0, WEIGHTS)(logits, labels), weighted)
    assert is_reported(cross_entropy(0.0))
    assert not is_reported(cross_entropy(0.1))
    assert not is_reported(cross_entropy(0.0, "balanced"))
    assert not is_reported(torch.nn.CrossEntropyLoss())  # it may have class weights


def test_balanced_weights_let_all_classes_count_the_same() -> None:
    weights = balanced(COUNTS)
    totals = weights * COUNTS
    assert totals.tolist() == [5.0, 5.0, 0.0, 5.0, 5.0]  # their sum is that of the images
    labels = torch.arange(5).repeat_interleave(COUNTS)
    logits = torch.randn(len(labels), 5)
    each = [F.cross_entropy(logits[labels == one], labels[labels == one]) for one in (0, 1, 3, 4)]
    found = cross_entropy(0.0, "balanced")(logits, labels)
    assert float(found) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS, "balanced"])
def test_focal_loss_without_focus_is_cross_entropy(weights: object) -> None:
    logits, labels = torch.randn(7, 5), torch.tensor([0, 1, 3, 3, 4, 1, 0])
    soft = torch.rand(7, 5).softmax(1)
    for targets in (labels, soft):
        plain = cross_entropy(0.0, weights)(logits, targets)
        assert float(focal(0.0, weights)(logits, targets)) == pytest.approx(float(plain), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_the_paper(gamma: float) -> None:
    logits, labels = torch.randn(50, 5), torch.randint(5, (50,))
    p = logits.softmax(1)[range(50), labels]
    expected = ((1 - p) ** gamma * -p.log()).mean()
    assert float(focal(gamma)(logits, labels)) == pytest.approx(float(expected), rel=1e-4)
    one_hot = F.one_hot(labels, 5).float()
    assert float(focal(gamma)(logits, one_hot)) == pytest.approx(float(expected), rel=1e-4)
    sure = torch.tensor([[200.0, 0, 0, 0, 0]], requires_grad=True)
    focal(gamma)(sure, torch.zeros(1, dtype=torch.int64)).backward()
    assert sure.grad is not None
    assert bool(sure.grad.isfinite().all())


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize(
    ("weights", "says"),
    [("[1,2,3]", "10 classes"), ("[]", "10 classes"), ("balance", "balanced"), ("[1,-1]", "0")],
)
def test_weights_that_do_not_fit_are_refused(loss: str, weights: str, says: str) -> None:
    words = ["data=digits", f"loss={loss}", f"loss.class_weights={weights}"]
    with pytest.raises(SettingError, match=r"\Aloss\.class_weights=[^\n]+\Z") as error:
        check(RunConfig.of(compose_config("config", words)))
    assert says in str(error.value)


def test_balanced_weights_come_from_the_training_images(tmp_path: Path) -> None:
    balanced_run, listed = (
        tunebook.train(*ONE_STEP, f"loss.class_weights={weights}", *with_store(tmp_path))
        for weights in ("balanced", "[1,1,1,1,1,1,1,1,1,1]")
    )
    plain = tunebook.train(*ONE_STEP, *with_store(tmp_path))
    assert listed.metrics["train/loss"] == pytest.approx(plain.metrics["train/loss"], rel=1e-6)
    assert balanced_run.metrics["train/loss"] != plain.metrics["train/loss"]
    assert balanced_run.metrics["train/acc"] == plain.metrics["train/acc"]


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
    """Return a config with a loss of torch; Hydra can't remove a key whose value is null."""
    overrides = [
        "data=digits",
        f"loss._target_={LOSSES}.{name}",
        "~loss.label_smoothing",
        "loss.class_weights=balanced",
        "~loss.class_weights",
    ]
    return RunConfig.of(compose_config("config", overrides))


def test_a_loss_of_torch_can_be_used() -> None:
    check(with_loss("MultiMarginLoss"))


@pytest.mark.parametrize("name", ["BCELoss", "MSELoss", "CTCLoss"])
def test_a_loss_that_does_not_take_logits_and_labels_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r"\Aloss=[^\n]+\Z"):
        check(with_loss(name))
