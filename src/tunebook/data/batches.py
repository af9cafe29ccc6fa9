"""Batches gathered by index from tensors in memory, in an order that is a function of (seed, epoch) only."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tunebook.orphans import end_with_parent
from tunebook.randomness import generator


class RawBatch(NamedTuple):
    """Images uint8 (B, C, H, W), labels int64 (B,), and each sample's index in its data set int64 (B,)."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class GatheredImages(Dataset[RawBatch]):
    """A data set whose item is a whole batch: one gather instead of B items and a collation."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> RawBatch:
        return RawBatch(self.images[index], self.labels[index], index)


class BatchIndices(Sampler[Tensor]):
    """The indices of each batch of an epoch, the last, partial one included.

    batch_size is the number of samples in a step over all devices; of each batch, device `rank` of `devices` takes every
    `devices`-th sample. shuffle_seed: None keeps the data set's order.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        shuffle_seed: int | None,
        rank: int = 0,
        devices: int = 1,
    ) -> None:
        self.samples, self.batch_size, self.shuffle_seed = samples, batch_size, shuffle_seed
        self.rank, self.devices = rank, devices
        self.epoch = 0
        self.resumed = (
            0,
            0,
        )  # an epoch, and how many of its batches are left out, since they were trained on before

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at each epoch's start."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.samples, self.batch_size)
        # A rest that would leave a device without a sample joins the batch before it.
        return full + (1 if rest >= self.devices or (rest and not full) else 0)

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle_seed is None:
            order = torch.arange(self.samples)
        else:
            order = torch.randperm(self.samples, generator=generator(self.shuffle_seed, self.epoch))
        resumed_epoch, done = self.resumed
        for batch in range(done if self.epoch == resumed_epoch else 0, len(self)):
            start = batch * self.batch_size
            stop = self.samples if batch == len(self) - 1 else start + self.batch_size
            yield order[start:stop][self.rank :: self.devices]


class BatchLoader(DataLoader[RawBatch]):
    """A DataLoader over whole batches. Its own generator: loaders never draw from the global one.

    Lightning saves and loads its position: which is the training's (see recovery.position), not that of workers which read ahead.
    """

    def __init__(self, data: GatheredImages, batches: BatchIndices, num_workers: int) -> None:
        super().__init__(
            data,
            sampler=batches,
            batch_size=None,
            num_workers=num_workers,
            # Forked workers share the images in memory, and notice when this process is killed; those of a fork server do neither.
            multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
            generator=torch.Generator().manual_seed(0),
            worker_init_fn=partial(end_with_parent, os.getpid()),
            pin_memory=torch.cuda.is_available(),
        )

    def state_dict(self) -> dict[str, int]:
        """Nothing of its own: the training's position is put here."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on in an epoch after so many batches."""
        assert isinstance(self.sampler, BatchIndices)
        self.sampler.epoch = state["epoch"]
        self.sampler.resumed = state["epoch"], state["batch"]
