"""A library's network gets a head for the data's classes, and its backbone can be frozen."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from tests.helpers.pretrained import NETWORK, network
from tunebook.config.validation import SettingError

NETWORKS = [
    ("torchvision", "resnet18"), ("torchvision", "squeezenet1_1"),
    ("torchvision", "mobilenet_v3_small"), ("timm", NETWORK), ("timm", "tf_efficientnet_lite0"),
]  # fmt: skip


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def step(made: nn.Module, lr: float = 0.1) -> None:
    """Take one training step on random images."""
    images, labels = torch.rand(8, 1, 32, 32), torch.arange(8)
    optimizer = torch.optim.SGD(made.parameters(), lr)
    optimizer.zero_grad()
    nn.functional.cross_entropy(made(images), labels).backward()
    optimizer.step()


def changed_by_steps(made: nn.Module) -> set[str]:
    """Return what two steps change: in the first, timm's residual branches are still 0."""
    before = {key: value.clone() for key, value in made.state_dict().items()}
    step(made)
    step(made)
    return {key for key, value in made.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize(("library", "name"), NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_head_is_for_the_datas_classes(library: str, name: str, channels: int) -> None:
    with torch.device("meta"):
        made = network(name, library, classes=6, channels=channels).eval()
        assert made(torch.empty(2, channels, 64, 64)).shape == (2, 6)
    assert {made.model.get_parameter(key).shape[0] for key in made.head} == {6}
    assert len(made.head) == 2


@pytest.mark.slow
def test_every_network_of_torchvision_can_be_made() -> None:
    from torchvision import models

    names = models.list_models(module=models)
    assert len(names) >= 80
    for name in names:
        if "regnet" not in name or "400mf" in name:  # the others are large, and made in memory
            with torch.device("meta"):
                made = network(name, "torchvision", channels=3, weights="DEFAULT").eval()
                assert made(torch.empty(2, 3, 224, 224)).shape == (2, 10)
            assert made.head
            assert made.pretraining is not None
            assert 224 <= made.pretraining.side <= 600


def test_grey_images_are_the_same_as_summing_the_first_filters() -> None:
    torch.manual_seed(0)
    made = network("resnet18", "torchvision").eval()
    grey = torch.rand(2, 1, 32, 32)
    first = made.model.conv1
    summed = conv2d(grey, first.weight.sum(1, keepdim=True), None, first.stride, first.padding)
    rest = made.model
    after_first: list[torch.Tensor] = []
    hook = first.register_forward_hook(lambda module, given, out: after_first.append(out))
    rest(grey.expand(-1, 3, -1, -1))
    hook.remove()
    torch.testing.assert_close(after_first[0], summed)
    torch.testing.assert_close(made(grey), rest(grey.expand(-1, 3, -1, -1)))


def test_pretrained_networks_normalize_images_that_are_not_normalized_yet() -> None:
    images = torch.rand(2, 3, 32, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    for weights, is_normalized in (("DEFAULT", False), ("a/file", False)):
        made = network("resnet18", "torchvision", channels=3, weights=weights).eval()
        torch.testing.assert_close(made(images), made.model(expected))
        assert not is_normalized
    for weights, is_normalized in (("none", False), ("DEFAULT", True), ("none", True)):
        made = network(
            "resnet18", "torchvision", channels=3, weights=weights, normalized=is_normalized
        ).eval()
        assert torch.equal(made(images), made.model(images))
    lite = network("tf_efficientnet_lite0", channels=3, weights="DEFAULT")
    assert lite.pretraining is not None
    assert (lite.pretraining.mean, lite.pretraining.std) == ((0.5,) * 3, (0.5,) * 3)


def test_a_frozen_backbone_does_not_change_until_its_epoch() -> None:
    torch.manual_seed(0)
    made = network(freeze="backbone", unfreeze_at_epoch=3)
    heads = {f"model.{name}" for name in made.head}
    for epoch in (1, 2):
        made.start_epoch(epoch)
        made.eval()
        made.train()  # as around a validation
        assert changed_by_steps(made) == heads
        assert not any(m.training for m in made.modules() if isinstance(m, nn.BatchNorm2d))
    made.start_epoch(3)
    unchanged = set(made.state_dict()) - changed_by_steps(made)
    assert not unchanged
    made.start_epoch(2)  # a run that resumes there
    assert changed_by_steps(made) == heads


def test_without_an_epoch_it_stays_frozen_and_without_freezing_all_is_trained() -> None:
    torch.manual_seed(0)
    frozen, free = network(freeze="backbone"), network()
    for made in (frozen, free):
        made.start_epoch(1_000_000)
    assert changed_by_steps(frozen) == {f"model.{name}" for name in frozen.head}
    assert changed_by_steps(free) == set(free.state_dict())


@pytest.mark.parametrize(("library", "name"), [NETWORKS[0], NETWORKS[3], slow("timm", "levit_128")])
def test_each_parameter_is_in_one_group_and_the_order_is_the_same(library: str, name: str) -> None:
    with torch.device("meta"):
        one = network(name, library)
        two = network(name, library, backbone_lr_factor=0.1)
    groups = two.parameter_groups()
    assert isinstance(groups, list)
    assert [group["lr_factor"] for group in groups] == [0.1, 1.0]
    names = {id(parameter): key for key, parameter in two.named_parameters()}
    in_groups = [names[id(parameter)] for group in groups for parameter in group["params"]]
    assert sorted(in_groups) == sorted(key for key, _ in two.named_parameters())
    names = {id(parameter): key for key, parameter in one.named_parameters()}
    assert [names[id(parameter)] for parameter in one.parameter_groups()] == in_groups  # type: ignore[arg-type]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "test_resnett"}, "name=test_resnett: .* Did you mean 'test_resnet'"),
    ({"name": "resnet81", "library": "torchvision"}, "Did you mean 'resnet18'"),
    ({"name": "hf-hub:timm/resnet18"}, "no such classification network"),
    ({"name": "local-dir:/etc"}, "no such classification network"),
    ({"name": "fasterrcnn_resnet50_fpn", "library": "torchvision"}, "no such classification"),
    ({"channels": 2}, "takes images with 1 or 3 channels, these have 2"),
    ({"unfreeze_at_epoch": 2}, "unfreeze_at_epoch=2: nothing is frozen"),
    (
        {"unfreeze_at_epoch": 1, "freeze": "backbone"},
        "unfreeze_at_epoch=1: .*greater than or equal",
    ),
    ({"freeze": "head"}, "freeze=head: .*'none' or 'backbone'"),
    ({"backbone_lr_factor": 0.0}, "backbone_lr_factor=0.0: .*greater than 0"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_bad_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        network(**settings)
