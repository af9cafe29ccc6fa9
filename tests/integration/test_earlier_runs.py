"""Runs of before the groups `loss` and `metrics` are read as what they did."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import Cli
from tests.helpers import faults
from tests.helpers.runs import RUN, Outcome, folder_of_run, outcome, with_store
from tests.helpers.stored import Store
from tunebook.config.added_settings import ADDED
from tunebook.config.compose import with_choices
from tunebook.config.run_config import plain
from tunebook.training import checkpoint


def make_earlier(file: Path) -> None:
    """Take the groups that were added later out of a checkpoint."""
    content = checkpoint.read(file)
    facts = content["tunebook"]
    config = OmegaConf.create(facts["config"])
    for group in ADDED:
        del config[group]
    settings = {
        key: value for key, value in facts["settings"].items() if key.split(".")[0] not in ADDED
    }
    assert len(settings) < len(facts["settings"])
    content["tunebook"] = facts | {"config": OmegaConf.to_yaml(config), "settings": settings}
    checkpoint.write(file, content)


@pytest.mark.parametrize("group", ADDED)
def test_what_is_added_is_an_option_of_conf(group: str) -> None:
    option, settings = ADDED[group]
    assert plain(with_choices({group: option}))[group] == settings


def test_an_earlier_run_is_resumed_and_evaluated(
    undisturbed: Callable[..., Outcome], cli: Cli, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    words = with_store(tmp_path)
    faults.run_train((*RUN, *words), log, faults.signal_in_training, signal.SIGKILL, 17)
    for file in (folder_of_run(tmp_path) / "checkpoints").glob("*.ckpt"):
        make_earlier(file)
    assert faults.run_train(("resume=last", *words), log) == 0, log.read_text()
    assert outcome(tmp_path).differences(undisturbed()) == []
    (file,) = tmp_path.glob("**/artifacts/checkpoints/last.ckpt")
    make_earlier(file)
    evaluated = cli("evaluate.py", f"run={file}", words[0])
    assert evaluated.code == 0, evaluated.err
    assert f"test/acc   {outcome(tmp_path).metrics['test/acc'][0][1]}" in evaluated.out


def test_another_loss_is_a_difference_from_an_earlier_run(cli: Cli, tmp_path: Path) -> None:
    words = with_store(tmp_path)
    log = tmp_path / "log.txt"
    faults.run_train((*RUN, *words), log, faults.signal_in_training, signal.SIGKILL, 17)
    for file in (folder_of_run(tmp_path) / "checkpoints").glob("*.ckpt"):
        make_earlier(file)
    refused = cli("train.py", "resume=last", "loss.label_smoothing=0.1", *words)
    assert refused.code == 2
    assert "loss.label_smoothing: 0.0 -> 0.1" in refused.err
    unknown = cli(
        "train.py", "resume=last", "resume_changes=true", "metrics=balanced",
        "objective=val/macro_f1", *words,
    )  # fmt: skip
    assert unknown.code == 2
    assert "objective=val/macro_f1: was not computed in the 1 epoch so far" in unknown.err
    assert "allowed: val/acc, val/loss" in unknown.err


def test_earlier_and_later_runs_of_one_configuration_are_compared_as_such(
    cli: Cli, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    earlier = {"optimizer": "adam", "optimizer.lr": 0.1}
    later = {"loss": "cross_entropy", "loss.label_smoothing": 0.0, "metrics": "basic"}
    for seed in (1, 2):
        store.run(f"earlier {seed}", {**earlier, "seed": seed}, (0.8,))
        store.run(f"later {seed}", {**earlier, **later, "seed": seed + 2}, (0.8,))
    found = cli("compare.py", "report=false", *store.words)
    assert found.code == 0, found.err
    assert "loss" not in found.out
    smooth = {**later, "loss.label_smoothing": 0.1}
    store.run("smooth", {**earlier, **smooth, "seed": 5}, (0.9,))
    found = cli("compare.py", "report=false", *store.words)
    assert "loss.label_smoothing=0.1" in found.out
    assert "loss.label_smoothing=0.0" in found.out
