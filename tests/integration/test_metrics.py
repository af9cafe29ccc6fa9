"""Metrics are what scikit-learn computes, and any of them may select the best epoch."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

import tunebook
from tests.conftest import ROOT, Cli, artifacts_of, run_process, runs_in
from tests.helpers.runs import RUN, with_store
from tests.helpers.stored import Store
from tunebook.config.compose import options, with_choices
from tunebook.config.run_config import plain
from tunebook.config.validation import SettingError
from tunebook.metrics import facts
from tunebook.metrics.facts import ALWAYS, LOWER_TAG, METRICS, facts_of
from tunebook.metrics.kept import Predictions, lower_is_better, make_metrics
from tunebook.metrics.objective import direction_of
from tunebook.sweeps.points import read

CLASSES = 6
RECALL = "torchmetrics.classification.MulticlassRecall"


def settings_of(option: str) -> dict[str, dict[str, object]]:
    """Return the settings of an option of conf/metrics/."""
    found: dict[str, dict[str, object]] = plain(with_choices({"metrics": option}))["metrics"]
    return found


def guesses(size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits that are right more often than not, and labels of unequal classes."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.linspace(1, 8, CLASSES), size, True, generator=draw)
    logits = 3 * torch.randn(size, CLASSES, generator=draw)
    logits[range(size), labels] += 3
    return logits, labels


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error of Naeini et al. 2015."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1)
    gaps = [
        (place == b).mean() * abs(right[place == b].mean() - confidence[place == b].mean())
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps))


def expected(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return what scikit-learn computes for each metric that is not always there."""
    truth, probabilities = labels.numpy(), logits.double().softmax(1).numpy()
    guessed = probabilities.argmax(1)
    every = list(range(probabilities.shape[1]))
    return {
        "top_3_acc": sklearn_metrics.top_k_accuracy_score(truth, logits, k=3, labels=every),
        "top_5_acc": sklearn_metrics.top_k_accuracy_score(truth, logits, k=5, labels=every),
        "balanced_acc": sklearn_metrics.balanced_accuracy_score(truth, guessed),
        "macro_f1": sklearn_metrics.f1_score(truth, guessed, average="macro"),
        "auroc": sklearn_metrics.roc_auc_score(truth, probabilities, multi_class="ovr"),
        "ece": calibration_error(probabilities, truth),
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_shipped_metric_is_what_sklearn_computes(seed: int) -> None:
    logits, labels = guesses(503, seed)
    kept = Predictions()
    for start in range(0, 503, 100):  # the last batch is smaller
        kept.add(logits[start : start + 100], labels[start : start + 100])
    found = kept.compute("val", make_metrics(settings_of("all"), CLASSES))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {f"val/{name}": value for name, value in expected(logits, labels).items()}, abs=1e-6
    )


def test_extreme_logits_keep_their_order() -> None:
    """Logits that are far apart keep their order.

    In single precision, the probabilities of all but the first class would be 0.
    """
    logits = torch.tensor([[0.0, -200.0, -300.0, -400.0, -500.0, -600.0]])
    kept = Predictions()
    kept.add(logits, torch.tensor([2]))
    found = kept.compute("val", make_metrics(settings_of("top_k"), CLASSES))
    assert found["val/top_3_acc"] == 1


def test_what_is_known_of_a_metric_fits_its_class() -> None:
    made = make_metrics(settings_of("all"), CLASSES)
    assert set(made) == set(METRICS) - set(ALWAYS)
    for name, metric in made.items():
        assert metric.higher_is_better is (facts_of(f"val/{name}").direction == "max")
    assert facts_of("best/val_acc") is facts_of("test/acc") is METRICS["acc"]
    assert facts_of("time/fit_s").direction == "min"


@pytest.mark.parametrize("option", options("metrics"))
def test_any_metric_of_an_option_may_be_the_objective(option: str) -> None:
    for name in settings_of(option):
        words = ["data=digits", "seed=1,2", f"metrics={option}", f"objective=val/{name}"]
        request, _ = read(words)
        lower = name == "ece"
        assert request.direction == ("minimize" if lower else "maximize")
        assert request.figure_direction == ("min" if lower else "max")
        assert request.tested == f"test/{name}"


def test_a_loss_is_reported_by_another_metric_of_the_test() -> None:
    assert facts.tested_name("val/loss") == facts.tested_name("val/acc") == "test/acc"
    assert facts.tested_name("time/fit_s") == "test/acc"


def test_a_metric_of_ones_own_says_which_way_is_better() -> None:
    error = "torchmetrics.classification.MulticlassCalibrationError"
    settings = {"gap": {"_target_": error}, "recall": {"_target_": RECALL}}
    assert direction_of("val/gap", settings) == "min"
    assert direction_of("val/recall", settings) == "max"
    assert lower_is_better(make_metrics(settings, CLASSES)) == ["gap"]


@pytest.mark.parametrize("name", ["acc", "Recall", "a b", "a/b", ""])
def test_a_name_that_is_taken_or_unfit_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=re.escape(f"metrics.{name}=")):
        make_metrics({name: {"_target_": RECALL}}, CLASSES)


def test_a_run_records_them_for_validation_and_test(tmp_path: Path) -> None:
    run = tunebook.train(
        *RUN, "metrics=all", "objective=val/macro_f1", "tracking.save_pictures=true",
        "tracking.save_grad_cam=true", *with_store(tmp_path),
    )  # fmt: skip
    best = run.history["val/macro_f1"].max()
    assert run.metrics["best/val_macro_f1"] == pytest.approx(best, rel=1e-6)
    assert "train/macro_f1" not in run.metrics
    assert run.settings["metrics"] == "all"
    pictures = artifacts_of(tmp_path, runs_in(tmp_path)[0], "pictures")
    assert "pictures/grad_cam.png" in pictures
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images[::5] * (255 / 16)).astype(np.uint8)
    with torch.inference_mode():
        logits = run.model()(torch.from_numpy(pixels).unsqueeze(1).float() / 255)
    truth = torch.from_numpy(digits.target[::5])
    for name, value in expected(logits, truth).items():
        assert run.metrics[f"test/{name}"] == pytest.approx(value, abs=1e-5), name
    assert run.evaluate() == {n: v for n, v in run.metrics.items() if n.startswith("test/")}
    assert run.pictures["learning_curves"].width > 3000  # eight metrics beside one another
    (log,) = (tmp_path / "out").glob("2*/*/train.log")
    text = log.read_text()
    assert f"validation macro F1 {best:.2%}" in text
    assert f"test AUROC {run.metrics['test/auroc']:.4f}" in text
    assert "val_macro_f1" in text


@pytest.mark.slow
def test_two_devices_give_the_metrics_of_all_images_together(tmp_path: Path) -> None:
    found: list[dict[str, float]] = []
    for devices in ("1", "2"):
        (tmp_path / devices).mkdir()
        result = run_process(
            "train.py", *RUN, "trainer=ddp", "trainer.accelerator=cpu",
            f"trainer.devices={devices}", "trainer.max_epochs=1", "optimizer=sgd",
            "optimizer.lr=1e-12", "metrics=all",
            *with_store(tmp_path / devices),
        )  # fmt: skip
        assert result.code == 0, result.err
        (run,) = runs_in(tmp_path / devices)
        found.append({n: v for n, v in run.data.metrics.items() if n.startswith("val/")})
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert len(found[0]) == 8


def test_a_report_takes_the_direction_of_an_unknown_metric_from_its_runs(
    cli: Cli, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    for model, gap in (("mlp", 0.3), ("cnn", 0.1)):
        metrics = {"best/val_gap": gap, "val/gap": gap}
        store.run(model, {"model": model}, metrics=metrics, tags={LOWER_TAG: "gap"})
    found = cli("compare.py", "metric=val/gap", "report=false", *store.words)
    assert found.code == 0, found.err
    assert re.search(r"^1 +1 +0\.1 .* cnn *$", found.out, re.M)


def test_runs_are_reported_by_the_test_metric_of_their_objective(cli: Cli, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for model, value in (("mlp", 0.7), ("cnn", 0.8)):
        metrics = {"best/val_macro_f1": value, "val/macro_f1": value, "test/macro_f1": value - 0.1}
        store.run(model, {"model": model, "objective": "val/macro_f1"}, metrics=metrics)
    found = cli("compare.py", "report=false", *store.words)
    assert "val/macro_f1, median" in found.out
    assert "test/macro_f1, median" in found.out
    assert re.search(r"^1 +1 +80\.00 % .* 70\.00 % .* cnn *$", found.out, re.M)


def test_metrics_are_named_in_one_package() -> None:
    """Only `tunebook.metrics` spells out metrics' names; adding one changes no other file."""
    names = re.compile(r"accurac|\bacc\b|_acc\b|macro_f1|auroc", re.I)
    package = ROOT / "src" / "tunebook"
    found = {
        str(file.relative_to(package)): names.findall(file.read_text())
        for file in [*package.rglob("*.py"), *package.rglob("*.html")]
        # The scripts of peers are programs of their own, and import nothing of Tunebook.
        if file.parent not in (package / "metrics", package / "bench" / "peers")
    }
    wrong = {name: words for name, words in found.items() if words}
    assert not wrong


def test_grad_cam_of_a_network_without_a_feature_map_is_refused(cli: Cli, tmp_path: Path) -> None:
    words = ("model=mlp", "tracking.save_grad_cam=true", "data=digits", *with_store(tmp_path))
    result = cli("train.py", *words)
    assert result.code == 2
    assert result.err == (
        "error: tracking.save_grad_cam=true: tunebook.networks.MLP has no feature map for "
        "Grad-CAM\n"
    )
    assert not (tmp_path / "out").exists()
