"""From files to batches.

sources       what a data set is: its shape, its classes, its images and labels
download      files checked by digest, fetched once, from the first place that works
batches       batches gathered by index from memory, in an order that depends on (seed, epoch) only
augmentation  random changes of a whole batch on its device, each image its own
module        the LightningDataModule: split, loaders, scaling
"""

from tunebook.data.module import Batch, ImageDataModule
from tunebook.data.sources import ImageSets, Source

__all__ = ["Batch", "ImageDataModule", "ImageSets", "Source"]
