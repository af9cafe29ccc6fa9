"""Write files of weights for tests of fine-tuning, and state a small run that starts from one."""

from pathlib import Path

import torch

from tests.helpers.runs import RUN
from tunebook.networks import TimmNetwork, TorchvisionNetwork

NETWORK = "test_resnet"  # timm's own network for tests, with batch norm
KINDS = {"torchvision": TorchvisionNetwork, "timm": TimmNetwork}
# The run of tests/helpers/runs.py with that network.
FINE_TUNED = (
    *(word for word in RUN if not word.startswith("model.")), "model=timm",
    f"model.name={NETWORK}", "optimizer=adamw", "trainer.precision=32-true", "data.image_size=8",
)  # fmt: skip


def network(
    name: str = NETWORK, library: str = "timm", classes: int = 10, channels: int = 1,
    normalized: bool = False, **changed: object,
) -> TorchvisionNetwork | TimmNetwork:  # fmt: skip
    """Return a network as conf/model/ describes it, but for what is changed."""
    settings = {
        "weights": "none", "weights_root": "unused", "freeze": "none", "unfreeze_at_epoch": None,
        "backbone_lr_factor": 1.0,
    }  # fmt: skip
    return KINDS[library](
        image_shape=(channels, 32, 32), num_classes=classes, normalized=normalized, name=name,
        **(settings | changed),
    )  # type: ignore[arg-type]  # fmt: skip


def write_weights(path: Path, seed: int = 0, name: str = NETWORK, library: str = "timm") -> Path:
    """Write weights of a network for 7 classes, drawn with this seed, and return the path."""
    torch.manual_seed(seed)
    torch.save(network(name, library, classes=7).model.state_dict(), path)
    return path
