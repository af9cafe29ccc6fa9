"""A run whose weights are unusable says that it writes no checkpoints."""

import logging
import math
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tunebook.run_folder import LAST
from tunebook.training import CheckpointCallback, VerifiedCheckpoints


class WithUnusedWeight(LightningModule):
    """Train one layer, beside a weight that the loss does not depend on."""

    def __init__(self, unused: float) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(1, 1), nn.Parameter(torch.tensor(unused))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).pow(2).mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.layer.parameters(), lr=0.1)


def train(folder: Path, unused: float) -> None:
    files = VerifiedCheckpoints()
    callback = CheckpointCallback(folder, files, None, "max", 1e-6, {})
    trainer = Trainer(
        max_epochs=2, callbacks=[callback], plugins=[files], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(WithUnusedWeight(unused), DataLoader(torch.ones(4, 1)))


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_weights_that_are_not_finite_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    train(tmp_path, math.nan)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "no checkpoint could be written (unused is not finite); training continues, and will retry"
    ]
    assert not (tmp_path / LAST).exists()
    caplog.clear()
    train(tmp_path, 0.0)
    assert not caplog.records
    assert (tmp_path / LAST).exists()
