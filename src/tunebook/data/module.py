"""Define the LightningDataModule, which splits a source's images and provides batches of them.

All images are held in memory. They are scaled and augmented on the device.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn

from tunebook.config.paths import ROOT
from tunebook.config.validation import (
    Count,
    Name,
    NonNegativeInt,
    OpenFraction,
    Seed,
    SettingError,
    validate_args,
)
from tunebook.data.batches import BatchLoader, EpochBatchSampler, RawBatch, TensorImageDataset
from tunebook.data.preprocessing import Preprocessing
from tunebook.data.sources import Source
from tunebook.randomness import mix

# A number of images. If it exceeds the size of the data set, there is one batch.
EvaluationBatch = Annotated[int, Field(ge=1, le=1_000_000)]


class Batch(NamedTuple):
    """Hold images float32 (B, C, H, W) in [0, 1] and labels int64 (B,)."""

    images: Tensor
    labels: Tensor


class ImageDataModule(LightningDataModule):
    """Provide a source's data for one run.

    The validation set is a stratified part of the training set, which depends only on `split_seed`.
    `validate_on="test"` trains on the whole training set and validates on the test set, as the
    notebook did. `seed` determines the order of the samples and their augmentation.
    """

    @validate_args
    def __init__(
        self,
        source: Source,
        augmentation: nn.Module,
        seed: Seed,
        root: Name,
        batch_size: Count,
        eval_batch_size: EvaluationBatch,
        val_fraction: OpenFraction,
        split_seed: Seed,
        validate_on: Literal["split", "test", "train"],
        num_workers: NonNegativeInt,
    ) -> None:
        super().__init__()
        self.source, self.augmentation, self.seed = source, augmentation, seed
        self.preprocessing = Preprocessing(source.image_shape)
        self.root = ROOT / root  # an absolute path stays as it is
        self.batch_size, self.eval_batch_size, self.num_workers = (
            batch_size,
            eval_batch_size,
            num_workers,
        )
        self.split_seed, self.validate_on = split_seed, validate_on
        part = round(val_fraction * source.train_size)
        self.val_size = source.test_size if validate_on == "test" else part
        self.train_size = source.train_size - (part if validate_on == "split" else 0)
        classes = len(source.class_names)
        if validate_on == "split" and min(self.val_size, self.train_size) < classes:
            message = (
                f"leaves {self.train_size} images to train on and {self.val_size} to validate on: "
                f"each needs at least {classes}"
            )
            raise SettingError("val_fraction", val_fraction, message)
        if batch_size > self.train_size:
            raise SettingError(
                "batch_size",
                batch_size,
                f"must be at most {self.train_size}, the images to train on",
            )
        self.sets: dict[str, TensorImageDataset] = {}

    def prepare_data(self) -> None:
        """Download missing files; Lightning calls this in only one process."""
        if not self.sets:
            self.setup("fit")

    def setup(self, stage: str) -> None:
        """Load and split the data on the first call, whatever the stage."""
        if self.sets:
            return
        images = self.source.load(Path(self.root))
        test = TensorImageDataset(images.test_images, images.test_labels)
        train, val = TensorImageDataset(images.train_images, images.train_labels), test
        if self.validate_on != "test":
            rest, val = self._split(train)
            train = rest if self.validate_on == "split" else train
        self.sets = {"train": train, "val": val, "test": test}

    def _split(self, whole: TensorImageDataset) -> tuple[TensorImageDataset, TensorImageDataset]:
        from sklearn.model_selection import train_test_split

        train, val = train_test_split(
            torch.arange(len(whole)).numpy(),
            test_size=self.val_size,
            stratify=whole.labels.numpy(),
            random_state=self.split_seed,
        )
        parts = (torch.from_numpy(part).sort().values for part in (train, val))
        train_part, val_part = (
            TensorImageDataset(whole.images[index], whole.labels[index]) for index in parts
        )
        return train_part, val_part

    def _loader(self, split: str, batch_size: int, shuffle_seed: int | None) -> BatchLoader:
        data = self.sets[split]
        rank, devices = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        return BatchLoader(
            data,
            EpochBatchSampler(len(data), batch_size, shuffle_seed, rank, devices),
            self.num_workers,
        )

    def train_dataloader(self) -> BatchLoader:
        """Return the training loader, which shuffles the data in each epoch."""
        return self._loader("train", self.batch_size, shuffle_seed=self.seed)

    def val_dataloader(self) -> BatchLoader:
        """Return the validation loader, which keeps the order."""
        return self._loader("val", self.eval_batch_size, shuffle_seed=None)

    def test_dataloader(self) -> BatchLoader:
        """Return the test loader, which keeps the order."""
        return self._loader("test", self.eval_batch_size, shuffle_seed=None)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> RawBatch:
        """Move the batch's three tensors, without Lightning's generic search for tensors."""
        return RawBatch(*(tensor.to(device, non_blocking=True) for tensor in batch))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Scale the images to [0, 1], and augment them in training; this runs on the device."""
        images = self.preprocessing.scale(batch.images)
        if self.trainer is not None and self.trainer.training:
            images = self.augmentation(
                images, batch.indices, mix(self.seed, self.trainer.current_epoch)
            )
        return Batch(images, batch.labels)
