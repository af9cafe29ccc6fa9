"""Average the weights over training: exponentially (EMA), or equally (SWA).

The averaged weights are the ones that are validated, tested and exported. A checkpoint has them as
the network's weights, and those that training continues from in the callback's state.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from tunebook.config.validation import Count, OpenFraction, validate_args

Start = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class WeightAveraging(Callback):
    """Train the network as usual, and evaluate an average of its weights.

    decay: of the exponential moving average (Polyak & Juditsky 1992). After n updates it is at most
    (1 + n) / (10 + n), so that the average forgets the first weights soon. None gives all updates
    the same weight, as in stochastic weight averaging (Izmailov et al. 2018).
    every: "step" updates after each optimizer step, "epoch" after the last step of each epoch.
    start: the fraction of the run's epochs before the first update. Until then the network's own
    weights are evaluated.
    batch_norm_images: the statistics of batch norm are computed anew before each validation, from
    this many training images without augmentation. A frozen layer keeps its statistics.
    network: the network that is trained.
    """

    @validate_args
    def __init__(
        self,
        network: nn.Module,
        decay: OpenFraction | None,
        every: Literal["step", "epoch"],
        start: Start,
        batch_norm_images: Count,
    ) -> None:
        self.network, self.decay, self.every, self.start = network, decay, every, start
        self.batch_norm_images = batch_norm_images
        self.updates = 0
        # While they are not in the network: the average, or in a validation the trained weights.
        self.other = {name: value.clone() for name, value in network.state_dict().items()}
        self.is_average_in_network = False
        self._restored: dict[str, Tensor] | None = None
        self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the trained weights and the number of updates, for a resumed run."""
        found = self.other if self.is_average_in_network else self.network.state_dict()
        return {"trained": dict(found), "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep what `state_dict` returned until training starts."""
        self.updates, self._restored = state_dict["updates"], state_dict["trained"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the network's weights, once there is one."""
        if self.updates and not self.is_average_in_network:
            prefix = _prefix(pl_module, self.network)
            for name, value in self.other.items():
                checkpoint["state_dict"][prefix + name] = value

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with the network's weights, or where a resumed run was: they are its average."""
        device = pl_module.device
        self.other = {name: value.to(device) for name, value in self.other.items()}
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.other[name].copy_(value)
                if self._restored is not None:
                    value.copy_(self._restored[name])
        self._restored = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the number of optimizer steps, since a batch may be one of several in a step."""
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after an optimizer step."""
        if self.every == "step" and trainer.global_step > self._steps and self._begun(trainer):
            self._update()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the network, with statistics of batch norm that belong to it."""
        epochs = trainer.current_epoch + 1 - self._first_epoch(trainer)
        # In a validation that is repeated after a resume, the epoch has been added already.
        if self.every == "epoch" and self.updates < epochs:
            self._update()
        if not self.updates:
            return
        for name, buffer in self.network.named_buffers():
            if name in self.other:
                self.other[name].copy_(buffer)
        self._swap()
        with trainer.precision_plugin.forward_context():
            images = trainer.datamodule.plain_training_images(self.batch_norm_images)  # type: ignore[attr-defined]
            recompute_batch_norm(self.network, (each.to(pl_module.device) for each in images))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the trained weights."""
        if self.is_average_in_network:
            self._swap()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the network: it is what the last validation measured."""
        if self.updates:
            self._swap()

    def _first_epoch(self, trainer: Trainer) -> int:
        return int(self.start * (trainer.max_epochs or 1))

    def _begun(self, trainer: Trainer) -> bool:
        return trainer.current_epoch >= self._first_epoch(trainer)

    def _update(self) -> None:
        average = [self.other[name] for name, _ in self.network.named_parameters()]
        trained = [parameter.detach() for parameter in self.network.parameters()]
        if self.decay is None or not self.updates:  # the first update copies the weights
            get_swa_multi_avg_fn()(average, trained, self.updates)  # type: ignore[no-untyped-call]
        else:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            get_ema_multi_avg_fn(decay)(average, trained, self.updates)  # type: ignore[no-untyped-call]
        self.updates += 1

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.network.state_dict().items():
            kept = value.clone()
            value.copy_(self.other[name])
            self.other[name].copy_(kept)
        self.is_average_in_network = not self.is_average_in_network


def _prefix(pl_module: LightningModule, network: nn.Module) -> str:
    """Return what the names of a network's weights begin with in the module's."""
    return next(f"{name}." for name, module in pl_module.named_modules() if module is network)


@torch.no_grad()
def recompute_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Compute the running statistics of batch norm anew, as means over batches of images.

    torch's update_bn would also turn dropout on, so that the result would depend on random numbers.
    A layer whose weights are frozen keeps its statistics.
    """
    layers = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm)
        and module.track_running_stats
        and (module.weight is None or module.weight.requires_grad)
    ]
    if not layers:
        return
    before = [(module, module.training) for module in network.modules()]
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a mean over all batches
        layer.training = True
    for images in batches:
        network(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for module, training in before:
        module.training = training
