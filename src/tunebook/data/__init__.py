"""Turn the files of a data set into batches.

sources       the data sets: each one's shape, classes, images and labels
download      files checked by digest and downloaded once, from the first source that works
batches       batches gathered by index from memory, in an order that depends on (seed, epoch) only
augmentation  random changes of a batch on its device, different for each image
module        the LightningDataModule: split, loaders, scaling
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
    """Import a class at its first use, since only the data module needs Lightning."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    return found
