"""Every augmentation can be chosen, combined, swept over and resumed, from the command line."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import ROOT, SMALL, Cli, artifacts_of, runs_in
from tests.helpers.projects import TABLE, succeed
from tests.helpers.runs import with_store
from tunebook.config.compose import compose_config, options
from tunebook.config.run_config import RunConfig
from tunebook.data.augmentation import Flip, RandomResizedCrop
from tunebook.runs.assemble import build

QUICK = (*SMALL, "tracking.save_pictures=false", "trainer.max_epochs=1")
# Its targets are labels or probabilities, and of one kind only.
MARGIN = (
    "loss._target_=torch.nn.modules.loss.MultiMarginLoss",
    "~loss.label_smoothing",
    "loss.class_weights=balanced",
    "~loss.class_weights",
)
BINARY = (
    "loss._target_=torch.nn.modules.loss.BCEWithLogitsLoss",
    "~loss.label_smoothing",
    "loss.class_weights=balanced",
    "~loss.class_weights",
)
EXPERIMENT = """# @package _global_
# Crops with erased rectangles
defaults:
  - override /augmentation: standard
augmentation:
  crop:
    scale_min: 0.5
  erasing:
    _target_: tunebook.data.augmentation.RandomErasing
    probability: 1.0
    scale_min: 0.1
    scale_max: 0.1
    ratio_min: 1.0
    ratio_max: 1.0
    value: 0.5
"""


@pytest.mark.slow
def test_every_augmentation_trains_in_a_sweep(cli: Cli, tmp_path: Path) -> None:
    names = options("augmentation")
    assert len(names) >= 13
    chosen = f"augmentation={','.join(names)}"
    result = cli(
        "train.py", "-m", *QUICK, chosen, "sweep.workers=1", "sweep.threads=1",
        *with_store(tmp_path),
    )  # fmt: skip
    assert result.code == 0, result.err
    trials = [run for run in runs_in(tmp_path) if "val/acc" in run.data.metrics]
    assert {run.data.params["augmentation"] for run in trials} == set(names)
    losses = {run.data.params["augmentation"]: run.data.metrics["train/loss"] for run in trials}
    # Of symmetrical changes of so few images, two could give equal sums only by chance.
    assert len(set(losses.values())) == len(names)


def settings_of(*overrides: str) -> dict[str, object]:
    return RunConfig.of(compose_config("config", ["data=digits", *overrides])).settings


def test_steps_are_built_in_the_order_of_the_option() -> None:
    steps = build(settings_of("augmentation=standard", "augmentation.crop.scale_min=0.5"))
    crop, flip = steps.data.augmentation.steps
    assert isinstance(crop, RandomResizedCrop)
    assert crop.rectangles.scale_min == 0.5
    assert isinstance(flip, Flip)


def test_a_projects_option_may_have_steps(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/training.md").read_text(), re.S)
    (tmp_path / "pyproject.toml").write_text(TABLE)
    (tmp_path / "conf" / "augmentation").mkdir(parents=True)
    (tmp_path / "conf" / "augmentation" / "scans.yaml").write_text(example)
    found = OmegaConf.create(succeed(tmp_path, "train", "--cfg", "job", "augmentation=scans"))
    assert list(found.augmentation) == ["move", "erase"]
    assert found.augmentation.move.rotation == 10.0
    assert found.augmentation.erase.probability == 0.25


@pytest.mark.slow
def test_an_experiment_may_add_a_step(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TABLE)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "erased.yaml").write_text(EXPERIMENT)
    words = (*QUICK, "experiment=erased", "augmentation.erasing.value=0.25")
    succeed(tmp_path, "train", *words, *with_store(tmp_path))
    params = runs_in(tmp_path)[0].data.params
    assert params["augmentation.crop.scale_min"] == "0.5"
    assert params["augmentation.flip.probability"] == "0.5"
    assert params["augmentation.erasing.value"] == "0.25"


@pytest.mark.parametrize(
    ("overrides", "start", "says"),
    [
        (["augmentation=mixup", *MARGIN], "loss=", "the probabilities of mixed labels"),
        (["augmentation=mixup_cutmix", *MARGIN], "loss=", "the probabilities of mixed labels"),
        ([*BINARY], "loss=", "labels (11,)"),
        (["augmentation=flip", "augmentation.probability=2"], "augmentation.probability=2", "1"),
        (
            ["augmentation=standard", "augmentation.crop.scale_min=2"],
            "augmentation.crop.scale_min=2", "1",
        ),
        (
            ["augmentation=standard", "augmentation.crop.scale_mn=0.5"],
            "augmentation.crop.scale_mn", "Did you mean 'augmentation.crop.scale_min'",
        ),
        (
            ["augmentation=standard", "augmentation.flip._target_=torch.nn.Linear"],
            "augmentation.flip._target_=torch.nn.Linear", "tunebook.data.augmentation",
        ),
        (["augmentation=flipp"], "augmentation=flipp", "Did you mean 'flip'"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(
    cli: Cli, tmp_path: Path, overrides: list[str], start: str, says: str
) -> None:
    result = cli("train.py", "data=digits", *overrides, *with_store(tmp_path))
    (line,) = result.err.splitlines()
    assert (result.code, line.startswith(f"error: {start}"), says in line) == (2, True, True), line
    assert not (tmp_path / "out").exists()


def test_a_loss_that_takes_probabilities_trains_with_mixed_labels(cli: Cli, tmp_path: Path) -> None:
    result = cli("train.py", *QUICK, "augmentation=mixup", *BINARY, *with_store(tmp_path))
    assert result.code == 0, result.err


def test_the_first_batch_is_drawn(cli: Cli, tmp_path: Path) -> None:
    words = (*SMALL, "trainer.max_epochs=1", "augmentation=mixup_cutmix", "data.num_workers=2")
    assert cli("train.py", *words, *with_store(tmp_path)).code == 0
    (run,) = runs_in(tmp_path)
    assert "pictures/augmented_images.png" in artifacts_of(tmp_path, run, "pictures")


def test_validation_is_the_same_whatever_the_augmentation(cli: Cli, tmp_path: Path) -> None:
    still = (*QUICK, "optimizer=sgd", "optimizer.lr=1e-30")  # the weights stay as they are
    for number, name in enumerate(("none", "mixup_cutmix")):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert cli("train.py", *still, f"augmentation={name}", *with_store(folder)).code == 0
    plain, mixed = (runs_in(tmp_path / str(number))[0].data.metrics for number in range(2))
    assert plain["val/loss"] == mixed["val/loss"]
    assert plain["test/acc"] == mixed["test/acc"]
    assert plain["train/loss"] != mixed["train/loss"]
