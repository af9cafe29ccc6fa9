"""Define the LightningDataModule, which splits a source's images and provides batches of them.

Images are scaled, augmented and normalized on the device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn

from tunebook.config.paths import ROOT
from tunebook.config.validation import (
    Name,
    NonNegativeInt,
    OpenFraction,
    Seed,
    SettingError,
    parameters_of,
    validate_args,
)
from tunebook.data.augmentation.steps import augment
from tunebook.data.batches import BatchLoader, EpochBatchSampler, RawBatch, TensorImageDataset
from tunebook.data.contents import Channels, Contents, ImageSize, resized
from tunebook.data.download import DataError
from tunebook.data.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    Resize,
    mean_and_std,
)
from tunebook.data.sources import Source
from tunebook.data.splits import Folds, check_fold, fold_sizes, split_fold, split_off
from tunebook.randomness import generator, mix

# A number of images. If it exceeds those that there are, there is one batch.
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]


Sampler = Literal["shuffled", "balanced"]
MEASURED_AT_ONCE = 1024  # images
SHOWN = 5  # class names in one line


class Batch(NamedTuple):
    """Hold images float32 (B, C, H, W), in [0, 1] unless normalized, and labels int64 (B,).

    If the augmentation mixes labels, those of training batches are probabilities of the classes,
    float32 (B, num_classes).
    """

    images: Tensor
    labels: Tensor


class ImageDataModule(LightningDataModule):
    """Provide a source's data for one run.

    If the source has no validation images, they are a stratified part of the training images,
    which depends only on `split_seed`. With `folds`, they are part `fold` of a cross-validation of
    all training and validation images. `validate_on="test"` trains on the whole training set and
    validates on the test set, as the notebook did. `seed` determines the order of the samples and
    their augmentation.
    image_size: pixels of a square, or [height, width]; None: the source's. channels: 1 (grey), 3
    (RGB) or None for the source's. normalize: by the mean and the deviation of ImageNet, or of the
    training images. sampler: "balanced" draws each class equally often, with replacement.
    contents: what the source holds, if that is known; otherwise it is found.
    """

    @validate_args
    def __init__(
        self,
        source: Source,
        augmentation: nn.Module,
        seed: Seed,
        root: Name | None,
        batch_size: BatchSize,
        eval_batch_size: BatchSize,
        val_fraction: OpenFraction,
        split_seed: Seed,
        folds: Folds | None,
        fold: NonNegativeInt,
        validate_on: Literal["split", "test", "train"],
        num_workers: NonNegativeInt,
        image_size: ImageSize,
        channels: Channels,
        resize: Resize,
        normalize: Literal["none", "imagenet", "dataset"],
        sampler: Sampler,
        contents: Contents | None = None,
    ) -> None:
        super().__init__()
        self.source, self.augmentation, self.seed = source, augmentation, seed
        self.root = ROOT / (root or "")  # an absolute path stays as it is
        self.eval_batch_size, self.num_workers = eval_batch_size, num_workers
        check_fold(folds, fold)
        self.split_seed, self.validate_on, self.sampler = split_seed, validate_on, sampler
        self.folds, self.fold = folds, fold
        self.normalized_by, self.is_stated = normalize, contents is not None
        self.contents = contents or self._found(image_size, channels)
        self.preprocessing = self._preprocessing(resize)
        self._set_sizes(val_fraction)
        self.batch_size = min(batch_size, self.train_size)
        self.sets: dict[str, TensorImageDataset] = {}

    def _found(self, image_size: ImageSize, channels: Channels) -> Contents:
        """Return what the source holds, of images in the shape that was chosen."""
        found = self.source.find(self.root)
        return replace(found, image_shape=resized(found.image_shape, image_size, channels))

    def _preprocessing(self, resize: Resize) -> Preprocessing:
        """Return the preprocessing; the mean of the data may not be known yet."""
        shape = self.contents.image_shape
        mean, std = self.contents.mean, self.contents.std
        if self.normalized_by == "imagenet":
            if shape[0] != len(IMAGENET_MEAN):
                message = f"needs 3 channels, the images have {shape[0]}; data.channels=3 makes 3"
                raise SettingError("normalize", "imagenet", message)
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        return Preprocessing(shape, resize, mean, std)

    def _set_sizes(self, val_fraction: float) -> None:
        """Set the number of images to train and to validate on."""
        held, part = self.contents, self.contents.val_size
        available = held.train_size + part
        part = self._val_size(val_fraction, available)
        self.val_size = held.test_size if self.validate_on == "test" else part
        self.train_size = available - (part if self.validate_on == "split" else 0)
        classes = len(held.class_names)
        if self.validate_on == "split" and min(self.val_size, self.train_size) < classes:
            message = (
                f"leaves {self.train_size} images to train on and {self.val_size} to validate on: "
                f"each needs at least {classes}"
            )
            raise SettingError("val_fraction", val_fraction, message)

    def _val_size(self, val_fraction: float, available: int) -> int:
        """Return the number of validation images that are not the test images.

        available: the number of training and validation images.
        """
        if self.folds and not self._is_divided:
            return fold_sizes(available, self.folds, self.fold)[1]
        return self.contents.val_size or round(val_fraction * self.contents.train_size)

    @property
    def _is_divided(self) -> bool:
        """Return whether the source knows of `folds`, and divides the images itself."""
        return "folds" in parameters_of(type(self.source))

    def prepare_data(self) -> None:
        """Download missing files; Lightning calls this in only one process."""
        if not self.sets:
            self.setup("fit")

    def setup(self, stage: str) -> None:
        """Load and split the data on the first call, whatever the stage."""
        if self.sets:
            return
        if self.is_stated:
            self._require_same_classes()
        images = self.source.open(Path(self.root), self.preprocessing)
        test = TensorImageDataset(images.test_images, images.test_labels)
        train = TensorImageDataset(images.train_images, images.train_labels)
        val = test
        is_split = images.val_images is not None and images.val_labels is not None
        if images.val_images is not None and images.val_labels is not None:
            val = TensorImageDataset(images.val_images, images.val_labels)
            is_split = self._is_divided or not self.folds
            if self.validate_on != "split" or not is_split:
                train = train.joined(val)
        if self.validate_on != "test" and not is_split:
            train, val = self._split(train)
        if self.validate_on == "test":
            val = test
        self.sets = {"train": train, "val": val, "test": test}
        if self.normalized_by == "dataset" and self.preprocessing.mean is None:
            self._measure()

    def _split(self, train: TensorImageDataset) -> tuple[TensorImageDataset, TensorImageDataset]:
        """Return the images to train on, and those of them that validate."""
        labels = train.labels.numpy()
        if self.folds:
            try:
                kept, taken = split_fold(labels, self.folds, self.fold, self.split_seed)
            except ValueError as error:
                raise SettingError("data.folds", self.folds, str(error)) from None
        else:
            kept, taken = split_off(labels, self.val_size, self.split_seed)
        val = train.part(torch.from_numpy(taken))
        return train.part(torch.from_numpy(kept)) if self.validate_on == "split" else train, val

    def _require_same_classes(self) -> None:
        """Raise DataError if the images are not of the classes that the contents state."""
        found = self.source.find(Path(self.root)).class_names
        if found != self.contents.class_names:
            raise DataError(
                f"{self.root}: holds images of the classes {_names(found)}; "
                f"the run was trained on {_names(self.contents.class_names)}"
            )

    def _measure(self) -> None:
        """Measure the mean and the deviation of the training images."""
        images = self.sets["train"].images
        mean, std = mean_and_std(
            images[start : start + MEASURED_AT_ONCE]
            for start in range(0, len(images), MEASURED_AT_ONCE)
        )
        self.contents = replace(self.contents, mean=mean, std=std)
        self.preprocessing = replace(self.preprocessing, mean=mean, std=std)

    def first_batch(self) -> Batch:
        """Return the first training batch of the first epoch, augmented and in [0, 1]."""
        loader = self.train_dataloader()
        assert isinstance(loader.sampler, EpochBatchSampler)
        images, labels, indices = self.sets["train"][next(iter(loader.sampler))]
        return self.augmented(self.preprocessing.scale(images), labels, indices, epoch=0)

    def plain_training_images(self, images: int) -> Iterator[Tensor]:
        """Yield batches of training images as the network gets them, but without augmentation.

        They are the same in each call: at most `images`, drawn without replacement.
        """
        data = self.sets["train"]
        order = torch.randperm(len(data), generator=generator(self.seed))[:images]
        # Parts of nearly equal size, since batch norm gives each the same weight.
        for index in order.tensor_split(-(-len(order) // self.batch_size)):
            yield self.preprocessing.normalize(self.preprocessing.scale(data[index].images))

    def class_counts(self) -> Tensor:
        """Return the number of training images of each class, int64, once they are loaded."""
        return self.sets["train"].labels.bincount(minlength=len(self.contents.class_names))

    def _loader(self, split: str, batch_size: int, shuffle_seed: int | None) -> BatchLoader:
        data = self.sets[split]
        rank, devices = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        weights = None
        if self.sampler == "balanced" and shuffle_seed is not None:
            weights = 1 / data.labels.bincount().double()[data.labels]
        return BatchLoader(
            data,
            EpochBatchSampler(len(data), batch_size, shuffle_seed, rank, devices, weights),
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
        """Scale the images to [0, 1], augment them in training, and normalize them.

        This runs on the device.
        """
        images, labels = self.preprocessing.scale(batch.images), batch.labels
        if self.trainer is not None and self.trainer.training:
            images, labels = self.augmented(
                images, labels, batch.indices, self.trainer.current_epoch
            )
        return Batch(self.preprocessing.normalize(images), labels)

    def augmented(self, images: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> Batch:
        """Return a batch in [0, 1] as it is augmented in an epoch, which is counted from 0."""
        classes, key = len(self.contents.class_names), mix(self.seed, epoch)
        return Batch(*augment(self.augmentation, images, labels, classes, indices, key))


def _names(class_names: Sequence[str]) -> str:
    shown = ", ".join(class_names[:SHOWN])
    return f"{shown} and {len(class_names) - SHOWN} more" if len(class_names) > SHOWN else shown
