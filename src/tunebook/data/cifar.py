"""Load CIFAR-10 and CIFAR-100 (Krizhevsky 2009).

Their files are pickles. Each is opened only after its MD5 digest has been checked, and even then it
may create arrays and nothing else.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tunebook.config.validation import validate_args
from tunebook.data.array_formats import ArraysOnly
from tunebook.data.download import Archive, DataError, DataFile, Origin, check_files, read_files
from tunebook.data.sources import ImageSets, Source

CLASS_NAMES = {
    "CIFAR10": "airplane automobile bird cat deer dog frog horse ship truck",
    "CIFAR100": """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
        crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
        keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
        mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
        plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
        television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
        worm""",
}


class Cifar(Source):
    """Load CIFAR-10 or CIFAR-100: 50,000 training and 10,000 test images, 32 x 32 RGB.

    The files are in torchvision's layout, `<root>/cifar-10-batches-py/` or
    `<root>/cifar-100-python/`. Missing ones are taken out of the archive, such as
    `<root>/cifar-10-python.tar.gz`, which is downloaded if it is not there. File names and digests
    are torchvision's. The labels of CIFAR-100 are the fine ones.
    """

    image_shape = (3, 32, 32)
    train_size = 50_000
    test_size = 10_000

    @validate_args
    def __init__(self, dataset: Literal["CIFAR10", "CIFAR100"]) -> None:
        import torchvision.datasets

        self.described = getattr(torchvision.datasets, dataset)
        self.name = dataset
        self.class_names = tuple(CLASS_NAMES[dataset].split())

    def check(self, root: Path) -> None:
        """Raise DataError for files with another content, or if none can be written."""
        check_files(root / self.described.base_folder, self._files())

    def load(self, root: Path) -> ImageSets:
        """Read and check the files, and download the archive if files are missing."""
        described = self.described
        folder = described.base_folder
        local = root / described.filename
        places = [str(local)] if local.exists() else []
        origins: list[Origin] = [
            Archive(place, described.tgz_md5, folder) for place in (*places, described.url)
        ]
        contents = read_files(root / folder, self._files(), origins)
        self._check_class_names(contents[described.meta["filename"]])
        train, test = (
            self._arrays([contents[name] for name, _ in files])
            for files in (described.train_list, described.test_list)
        )
        return ImageSets(*train, *test)

    def _files(self) -> list[DataFile]:
        described = self.described
        meta = (described.meta["filename"], described.meta["md5"])
        named = (*described.train_list, *described.test_list, meta)
        return [DataFile(name, None, md5) for name, md5 in named]

    def _check_class_names(self, content: bytes) -> None:
        found = tuple(_unpickled(content)[self.described.meta["key"]])
        if found != self.class_names:
            raise DataError(f"{self.name}: has other classes than expected: {', '.join(found)}")

    def _arrays(self, contents: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Return the images uint8 (N, 3, 32, 32) and the labels int64 (N,) of some files."""
        batches = [_unpickled(content) for content in contents]
        key = "labels" if "labels" in batches[0] else "fine_labels"
        images = np.concatenate([batch["data"] for batch in batches])
        labels = np.concatenate([np.asarray(batch[key], np.int64) for batch in batches])
        return torch.from_numpy(images).reshape(-1, *self.image_shape), torch.from_numpy(labels)


def _unpickled(content: bytes) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    return found
