"""Hold the notebook's network and its data as Lightning's documentation shows them.

The peers that sweep with Lightning import this file, which is beside them.
"""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

CLASSES = 10


class Digits(pl.LightningDataModule):
    """Load images uint8 (N, H, W) and their labels from a file of arrays (.npz)."""

    def __init__(self, file: str, batch_size: int = 128, eval_batch_size: int = 500) -> None:
        super().__init__()
        self.file, self.batch_size, self.eval_batch_size = file, batch_size, eval_batch_size

    def setup(self, stage: str | None = None) -> None:
        """Read the file."""
        with np.load(self.file) as arrays:
            self.train, self.val = (
                TensorDataset(
                    torch.from_numpy(arrays[f"{split}_images"]).float().div(255).unsqueeze(1),
                    torch.from_numpy(arrays[f"{split}_labels"]),
                )
                for split in ("train", "val")
            )

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled training batches."""
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return DataLoader(self.val, batch_size=self.eval_batch_size)


class KerasCNN(pl.LightningModule):
    """Train the notebook's network on square images, with Keras's Adadelta."""

    def __init__(
        self, lr: float = 1.0, conv_dropout: float = 0.25, dense_dropout: float = 0.5, side: int = 8
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(conv_dropout),
            nn.Flatten(),
            nn.Linear(32 * ((side - 4) // 2) ** 2, 128),
            nn.ReLU(),
            nn.Dropout(dense_dropout),
            nn.Linear(128, CLASSES),
        )
        for layer in self.network:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.train_acc = MulticlassAccuracy(CLASSES, average="micro")
        self.val_acc = MulticlassAccuracy(CLASSES, average="micro")

    def _step(self, batch: list[Tensor], split: str, accuracy: MulticlassAccuracy) -> Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = nn.functional.cross_entropy(logits, labels)
        accuracy(logits, labels)
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True)
        self.log(f"{split}/acc", accuracy, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a training batch."""
        return self._step(batch, "train", self.train_acc)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Record the loss and the accuracy of a validation batch."""
        self._step(batch, "val", self.val_acc)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adadelta with the settings of Keras."""
        return torch.optim.Adadelta(self.parameters(), lr=self.hparams["lr"], rho=0.95, eps=1e-7)
