"""Averaged weights are those of torch, and the ones that are evaluated, kept and exported."""

import signal
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import tunebook
from tests.conftest import Cli
from tests.helpers import faults
from tests.helpers.runs import RUN, folder_of_run, with_store
from tunebook.config.compose import compose_config
from tunebook.config.run_config import RunConfig
from tunebook.config.validation import SettingError
from tunebook.runs.assemble import build
from tunebook.training.averaging import WeightAveraging, recompute_batch_norm
from tunebook.training.checkpoint import read


def averaging(network: nn.Module, decay: float | None, every: str = "step") -> WeightAveraging:
    return WeightAveraging(network, decay, every, 0.0, 100)


@pytest.mark.parametrize("decay", [None, 0.05])
def test_the_average_is_that_of_torch(decay: float | None) -> None:
    network = nn.Linear(3, 2)
    ours = averaging(network, decay)
    rule = None if decay is None else get_ema_multi_avg_fn(decay)
    theirs = AveragedModel(network, multi_avg_fn=rule)
    for _ in range(5):
        with torch.no_grad():
            network.weight += torch.randn(2, 3)
        ours._update()
        theirs.update_parameters(network)
    torch.testing.assert_close(ours.other["weight"], theirs.module.weight.detach())


def test_the_average_soon_forgets_the_first_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    ours = averaging(network, 0.999)
    for value in (100.0, *[1.0] * 20):
        with torch.no_grad():
            network.weight.fill_(value)
        ours._update()
    assert float(ours.other["weight"].detach()) == pytest.approx(1.0, abs=0.1)


def test_before_the_first_update_a_checkpoint_has_the_weights_of_the_network(
    tmp_path: Path,
) -> None:
    words = (*RUN, "callbacks=swa", *with_store(tmp_path))
    log = tmp_path / "log.txt"
    code = faults.run_train(words, log, faults.signal_in_training, signal.SIGTERM, 5)
    assert code == 143, log.read_text()
    content = read(folder_of_run(tmp_path) / "checkpoints" / "last.ckpt")
    state = content["callbacks"]["WeightAveraging"]
    assert state["updates"] == 0
    for name, value in state["trained"].items():
        assert torch.equal(content["state_dict"][f"network.{name}"], value)


def network_with_norm() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 2)
    )


def test_statistics_of_batch_norm_are_those_of_torch() -> None:
    network = network_with_norm()
    batches = list(torch.randn(5, 16, 1, 6, 6))
    recompute_batch_norm(network, batches)
    found = {name: value.clone() for name, value in network.state_dict().items()}
    assert network.training
    assert network[1].momentum == 0.1
    update_bn(batches, network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found[name], value)


def test_frozen_batch_norm_and_random_numbers_are_left_alone() -> None:
    network = network_with_norm()
    network[1].weight.requires_grad_(False)
    before, random = network[1].running_mean.clone(), torch.get_rng_state()
    recompute_batch_norm(network, list(torch.randn(1, 16, 1, 6, 6)))
    network[1].weight.requires_grad_(True)
    assert torch.equal(network[1].running_mean, before)
    torch.set_rng_state(random)
    recompute_batch_norm(network, list(torch.ones(1, 16, 1, 6, 6)))
    assert torch.equal(torch.get_rng_state(), random), "dropout is off"


@pytest.mark.parametrize("words", ["callbacks=ema", "callbacks=swa callbacks.swa.start=0.34"])
def test_the_weights_that_are_validated_are_tested_and_exported(
    cli: Cli, tmp_path: Path, words: str
) -> None:
    small = [word for word in RUN if not word.startswith("model.")]
    settings = [*small, *words.split(), "model=batchnorm_cnn", "optimizer=adam"]
    settings.append("trainer.precision=32-true")  # on a busy machine, two probes may differ
    averaged = tunebook.train(*settings, *with_store(tmp_path))
    (tmp_path / "plain").mkdir()
    plain_words = [word for word in settings if "callbacks" not in word]
    plain = tunebook.train(*plain_words, *with_store(tmp_path / "plain"))
    assert averaged.metrics["train/loss"] == plain.metrics["train/loss"], "training is the same"
    assert averaged.metrics["test/loss"] != plain.metrics["test/loss"]
    evaluated = cli("evaluate.py", f"run={averaged.id}", with_store(tmp_path)[0])
    assert evaluated.out.count("the same as recorded") == 2, evaluated.out
    again = cli("evaluate.py", f"run={averaged.id}", "weights=best", with_store(tmp_path)[0])
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("callbacks=ema callbacks.ema.decay=1", "callbacks.ema.decay=1"),
        ("callbacks=ema callbacks.ema.every=batch", "callbacks.ema.every=batch"),
        ("callbacks=swa callbacks.swa.start=1", "callbacks.swa.start=1"),
        ("callbacks=swa callbacks.swa.batch_norm_images=0", "callbacks.swa.batch_norm_images=0"),
    ],
)
def test_a_setting_out_of_range_is_named(words: str, start: str) -> None:
    settings = RunConfig.of(compose_config("config", ["data=digits", *words.split()])).settings
    with pytest.raises(SettingError) as error:
        build(settings)
    assert str(error.value).startswith(start)


def test_two_averages_in_one_run_are_refused() -> None:
    settings = RunConfig.of(compose_config("config", ["data=digits", "callbacks=ema"])).settings
    settings["callbacks"]["more"] = settings["callbacks"]["ema"]
    with pytest.raises(SettingError, match=r"callbacks\.more=.*another callback of this kind"):
        build(settings)
