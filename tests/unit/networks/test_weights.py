"""Weights of the same network are loaded into its backbone, whatever saved them."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.pretrained import network
from tunebook.config.validation import InputError
from tunebook.networks.weights import load_backbone

SAVED = "resnet18"


def saved(classes: int = 7, name: str = SAVED) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(network(name, "torchvision", classes=classes).model.state_dict())


def without_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.startswith("fc.")}


FORMS = {
    "as torchvision's": lambda weights: weights,
    "without a head": without_head,
    "of Tunebook": lambda weights: {f"network.model.{key}": each for key, each in weights.items()},
    "of several processes": lambda weights: {f"module.{key}": e for key, e in weights.items()},
    "without the counters of batch norm": lambda weights: {
        key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")
    },
    "in half precision": lambda weights: {
        key: value.half() if value.is_floating_point() else value for key, value in weights.items()
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_the_backbone_gets_them_and_the_head_keeps_its_own(form: str) -> None:
    made, weights = network(SAVED, "torchvision"), saved(classes=10)
    head = {name: made.model.get_parameter(name).clone() for name in made.head}
    load_backbone(made, FORMS[form](weights), "a file")
    for name, value in made.model.state_dict().items():
        if name in head:
            assert torch.equal(value, head[name])
        else:
            expected = weights[name].half().float() if "half" in form else weights[name]
            assert torch.equal(value, expected.to(value.dtype)), name


def test_the_names_of_efficientnet_pytorch_are_known() -> None:
    """The names are made from timm's by the order of the layers, which is the same in both."""
    torch.manual_seed(1)
    there, here = network("tf_efficientnet_lite0", classes=7), network("tf_efficientnet_lite0")
    renamed: dict[str, Tensor] = {}
    number, stage = -1, ""
    for key, value in there.model.state_dict().items():
        block = re.match(r"blocks\.(\d+\.\d+)\.(\w+)\.(\w+)$", key)
        if block is None:
            layer, _, rest = key.rpartition(".")
            outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head"}
            renamed[f"{outer.get(layer, '_bn1' if layer == 'bn2' else '_fc')}.{rest}"] = value
            continue
        if block[1] != stage:
            number, stage = number + 1, block[1]
        names = {
            "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv", "bn3": "_bn2",
            "conv_pw": "_expand_conv" if number else "_project_conv",
            "bn1": "_bn0" if number else "_bn1", "bn2": "_bn1" if number else "_bn2",
        }  # fmt: skip
        renamed[f"_blocks.{number}.{names[block[2]]}.{block[3]}"] = value
    assert number == 15
    load_backbone(here, renamed, "a file")
    for key, value in here.model.state_dict().items():
        assert key in here.head or torch.equal(value, there.model.state_dict()[key]), key


def nan(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"layer1.0.conv1.weight": weights["layer1.0.conv1.weight"] * float("nan")}


WRONG = [
    (lambda: saved(name="resnet50"), "layer1.0.conv1.weight is (64, 64, 1, 1) there and "
     "(64, 64, 3, 3) here"),
    (lambda: saved(name="resnet34"), "layer1.2.conv1.weight is (64, 64, 3, 3) there and missing"),
    (lambda: without_head(saved()) | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
     "conv1.weight is (64, 1, 7, 7) there and (64, 3, 7, 7) here"),
    (lambda: {"a": torch.zeros(2)}, "conv1.weight is missing there"),
    (lambda: {"_conv_stem.weight": torch.zeros(2)}, ", and 98 more"),
    (lambda: nan(saved()), "its layer1.0.conv1.weight contains a value that is not a finite"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_what_differs_is_named_in_one_line(make: object, said: str) -> None:
    made = network(SAVED, "torchvision")
    before = {key: value.clone() for key, value in made.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_backbone(made, make(), "model.weights=a.pth")  # type: ignore[operator]
    text = str(error.value)
    assert said in text
    assert text.startswith("model.weights=a.pth: ")
    assert "\n" not in text
    assert len(text) < 500
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())


def test_weights_of_timm_and_torchvision_with_the_same_names_fit_both(tmp_path: Path) -> None:
    made = network(SAVED, "timm")
    load_backbone(made, saved(), "a file")
    assert torch.equal(made.model.get_parameter("conv1.weight"), saved()["conv1.weight"])
