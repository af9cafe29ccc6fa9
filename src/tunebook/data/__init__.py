"""Turn the files of a data set into batches.

sources       the data sets, with their shapes, classes, images and labels
cifar         CIFAR-10 and CIFAR-100
download      checks files by their digests, and downloads them from the first origin that works
array_formats reads IDX files and pickled arrays
listing       the images of a folder or a table, with their classes, splits and groups
class_folders finds the image files in the folders of classes
table         reads the columns of a CSV or Parquet file
inspection    the size and the digest of each image file, and whether it can be read
inspection_cache  keeps that in an SQLite file
huggingface   data sets of the package `datasets`
hub_dataset   opens one, and finds its splits, columns and labels
hub_images    reads its images, and finds out what they are
encoded       the images of a data set as the bytes of image files
audit         what is in a data set, and which images are copies or can't be used
audit_findings  the same in sentences that say what to do
near_duplicates  images that look nearly the same
thumbnails    small images, and a sheet of them for each class
cleaning      removes decoded images and inspections
batches       gathers batches from memory, in an order that depends only on (seed, epoch)
augmentation  random changes to the images of a batch, computed on its device
decoding      opens image files that are not trusted, and resizes their images
preprocessing turns images into a network's input, for training, prediction and export
module        the LightningDataModule: split, loaders
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunebook.data.module import Batch, ImageDataModule
    from tunebook.data.sources import ImageSets, Source

__all__ = ["Batch", "ImageDataModule", "ImageSets", "Source"]
MODULES = {
    "Batch": "module",
    "ImageDataModule": "module",
    "ImageSets": "sources",
    "Source": "sources",
}


def __getattr__(name: str) -> Any:
    """Import a class on first use, because only the data module needs Lightning."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    return found
