"""From files to batches.

sources       what a data set is: its shape, its classes, its images and labels
download      files checked by digest, fetched once, from the first place that works
batches       batches gathered by index from memory, in an order that depends on (seed, epoch) only
augmentation  random changes of a whole batch on its device, each image its own
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
    """Return a class at its first use: the data module brings Lightning, which a source does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    return found
