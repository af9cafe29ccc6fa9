"""Gather batches by index from images in memory or in files.

Their order depends only on (seed, epoch).
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tunebook.data.download import DataError
from tunebook.data.encoded import StoredImages
from tunebook.orphans import end_with_parent
from tunebook.randomness import generator


class RawBatch(NamedTuple):
    """Hold a batch as it is stored, before scaling and augmentation.

    Images are uint8 (B, C, H, W), and labels int64 (B,). Indices, int64 (B,), are the positions of
    the samples in their data set.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class TensorImageDataset(Dataset[RawBatch]):
    """Return a whole batch for each item of the data set.

    This replaces reading and collating B items by a single gather.
    """

    def __init__(self, images: Tensor | StoredImages, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def part(self, index: Tensor) -> "TensorImageDataset":
        """Return a data set of the images at some positions."""
        images = (
            self.images.select(self.images.rows[index])
            if isinstance(self.images, StoredImages)
            else self.images[index]
        )
        return TensorImageDataset(images, self.labels[index])

    def joined(self, other: "TensorImageDataset") -> "TensorImageDataset":
        """Return a data set of these images and of others, in the order of the whole data set."""
        labels = torch.cat([self.labels, other.labels])
        if not (isinstance(self.images, StoredImages) and isinstance(other.images, StoredImages)):
            assert isinstance(self.images, Tensor)
            assert isinstance(other.images, Tensor)
            return TensorImageDataset(torch.cat([self.images, other.images]), labels)
        rows, order = torch.cat([self.images.rows, other.images.rows]).sort()
        return TensorImageDataset(self.images.select(rows), labels[order])

    def update(self, digest: "hashlib._Hash") -> None:
        """Add the images and the labels to a digest."""
        if isinstance(self.images, StoredImages):
            self.images.update(digest)
        else:
            digest.update(self.images.contiguous().numpy().data)
        digest.update(self.labels.numpy().data)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> RawBatch:
        return RawBatch(self.images[index], self.labels[index], index)


class EpochBatchSampler(Sampler[Tensor]):
    """Yield the indices of each batch of an epoch, including the last, partial one.

    batch_size: samples per step over all devices. Device `rank` of `devices` takes every
    `devices`-th sample of each batch. shuffle_seed: None keeps the data set's order.
    weights: float64 (samples,); samples are drawn with replacement, in proportion to them.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        shuffle_seed: int | None,
        rank: int = 0,
        devices: int = 1,
        weights: Tensor | None = None,
    ) -> None:
        self.samples, self.batch_size, self.shuffle_seed = samples, batch_size, shuffle_seed
        self.rank, self.devices, self.weights = rank, devices, weights
        self.epoch = 0
        # An epoch, and the number of its batches to skip because they are already done.
        self.resumed = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this at the start of each."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.samples, self.batch_size)
        # A remainder that would leave a device without a sample is added to the batch before it.
        return full + (1 if rest >= self.devices or (rest and not full) else 0)

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle_seed is None:
            order = torch.arange(self.samples)
        elif self.weights is None:
            order = torch.randperm(self.samples, generator=generator(self.shuffle_seed, self.epoch))
        else:
            order = self._drawn(generator(self.shuffle_seed, self.epoch), self.weights)
        resumed_epoch, done = self.resumed
        for batch in range(done if self.epoch == resumed_epoch else 0, len(self)):
            start = batch * self.batch_size
            stop = self.samples if batch == len(self) - 1 else start + self.batch_size
            yield order[start:stop][self.rank :: self.devices]

    def _drawn(self, random: torch.Generator, weights: Tensor) -> Tensor:
        """Return as many samples as there are, drawn with replacement by their weights."""
        # Not torch.multinomial, which takes at most 2**24 categories.
        edges = weights.cumsum(0)
        points = torch.rand(self.samples, generator=random, dtype=torch.float64) * edges[-1]
        return torch.searchsorted(edges, points, right=True).clamp_(max=self.samples - 1)


class _ErrorsReturned(Dataset[RawBatch | DataError]):
    """Return a DataError in place of a batch, for worker processes.

    DataLoader would put a worker's traceback into the text of an error that is raised there.
    """

    def __init__(self, data: TensorImageDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Tensor) -> RawBatch | DataError:
        try:
            return self.data[index]
        except DataError as error:
            return error


class BatchLoader(DataLoader[RawBatch | DataError]):
    """Load whole batches without using torch's global random generator.

    Lightning saves and restores a loader's position. Here it is the position of training (see
    training.position), not that of the workers, which read ahead.
    """

    def __init__(
        self, data: TensorImageDataset, batches: EpochBatchSampler, num_workers: int
    ) -> None:
        super().__init__(
            _ErrorsReturned(data),
            sampler=batches,
            batch_size=None,
            num_workers=num_workers,
            # Forked workers share the images in memory, and notice when this process is killed.
            # Workers of a fork server do neither.
            multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
            generator=torch.Generator().manual_seed(0),
            worker_init_fn=partial(end_with_parent, os.getpid()),
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[RawBatch]:  # type: ignore[override]
        """Yield the batches of an epoch; raise DataError for images that can't be read."""
        for batch in super().__iter__():
            if isinstance(batch, DataError):
                raise batch
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return an empty state, into which the position of training is written."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume in the middle of an epoch, after the batches that are already done."""
        assert isinstance(self.sampler, EpochBatchSampler)
        self.sampler.epoch = state["epoch"]
        self.sampler.resumed = state["epoch"], state["batch"]
