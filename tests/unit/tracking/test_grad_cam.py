"""Grad-CAM colors what speaks for a class, in networks that have a feature map."""

import numpy as np
import pytest
import torch
from torch import nn

from tunebook.networks import MLP, KerasCNN
from tunebook.tracking.grad_cam import feature_map_of, grad_cam, grad_cam_picture

pytest.importorskip("captum")


class TwoHalves(nn.Module):
    """Score class 0 by the first channel, and class 1 by the second."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 2, 1, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(2).view(2, 2, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(self.features(images))
        return pooled.flatten(1)


def test_each_class_is_explained_by_its_own_places() -> None:
    image = torch.zeros(1, 2, 8, 8)
    image[:, 0, :, :4] = 1  # what class 0 looks for is on the left
    image[:, 1, :, 4:] = 1
    left, right = grad_cam(TwoHalves(), image.repeat(2, 1, 1, 1), torch.tensor([0, 1]))
    assert left[:, :4].min() == 1
    assert left[:, 4:].max() == 0
    assert torch.equal(right, 1 - left)


def test_a_frozen_network_is_explained_and_left_as_it_was() -> None:
    network = KerasCNN((1, 12, 12), 3, 4, 3, 2, 0.25, 8, 0.5).requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = grad_cam(network, torch.rand(5, 1, 12, 12), torch.tensor([0, 1, 2, 0, 1]))
    assert maps.shape == (5, 12, 12)
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(value.requires_grad for value in network.parameters())


def test_the_last_layer_with_places_is_taken() -> None:
    network = TwoHalves()
    assert feature_map_of(network, (2, 8, 8)) is network.features
    assert feature_map_of(MLP((1, 8, 8), 10, 16, 1, 0.0), (1, 8, 8)) is None
    with pytest.raises(ValueError, match="no feature map"):
        grad_cam(MLP((1, 8, 8), 10, 16, 1, 0.0), torch.rand(1, 1, 8, 8), torch.tensor([0]))


def test_tokens_are_no_feature_map() -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        transformer = torchvision.models.VisionTransformer(32, 8, 1, 1, 8, 16, num_classes=3)
        resnet = torchvision.models.resnet18()
    assert feature_map_of(transformer, (3, 32, 32)) is None
    assert feature_map_of(resnet, (3, 64, 64)) is not None


def test_the_picture_has_the_images_under_the_colors() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[1] = 255
    logits, names = torch.eye(2), ["a", "b"]
    heat = torch.zeros(2, 8, 8)
    heat[:, :4] = 1
    pixels = np.asarray(grad_cam_picture(images, heat, torch.arange(2), logits, names))
    # "jet" goes from dark blue to dark red: half of it on black, and half of it on white.
    colors = {tuple(color) for color in pixels.reshape(-1, 3).tolist()}
    assert {(64, 0, 0), (0, 0, 64), (191, 128, 128), (128, 128, 191)} <= colors
