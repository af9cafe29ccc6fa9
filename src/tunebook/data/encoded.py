"""Hold a data set of encoded images, such as JPEG files, and decode them when they are needed."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tunebook.config.validation import InputError
from tunebook.data.decoding import ignoring_warnings, read_file
from tunebook.data.download import DataError
from tunebook.data.inspection import Inspection, digest_of
from tunebook.data.listing import Listing
from tunebook.data.preprocessing import Pixels, Preprocessing
from tunebook.text_output import printable


class EncodedImages(ABC):
    """Read the images of a data set, one at a time, as the bytes of an image file."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the bytes of an image.

        Raises DataError if it is not the image that was inspected, because it has changed since or
        has vanished.
        """

    def verified(self, index: int, digest: str, read: Callable[[], bytes]) -> bytes:
        """Return what `read` returns; raise DataError as `read` of this class does.

        digest: that of the image when it was inspected.
        """
        try:
            data = read()
        except InputError as error:
            raise DataError(f"{self.name(index)}: {error}") from None
        if digest_of(data) != digest:
            raise DataError(f"{self.name(index)}: has changed since the run started")
        return data

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of an image for messages, such as its path."""


@dataclass(frozen=True)
class Collection:
    """Hold a listing of encoded images, what is known about each, and their reader."""

    listing: Listing
    inspection: Inspection
    images: EncodedImages

    def digest(self) -> str:
        """Return a digest of the images' contents, classes and stated splits and groups.

        It has 16 hexadecimal digits, and does not depend on the names of the files.
        """
        listing = self.listing
        stated = [listing.labels.tolist(), listing.class_names, listing.splits, listing.groups]
        described = json.dumps([stated, self.inspection.digests])
        return hashlib.blake2b(described.encode(), digest_size=8).hexdigest()

    def usable(self) -> "Collection":
        """Return the images that can be read."""
        problems = self.inspection.problems
        if not problems:
            return self
        kept = [index for index in range(len(self.images)) if index not in problems]
        return Collection(
            self.listing.part(kept), self.inspection.part(kept), SelectedImages(self.images, kept)
        )


class SelectedImages(EncodedImages):
    """Read some of the images of a data set."""

    def __init__(self, images: EncodedImages, kept: Sequence[int]) -> None:
        self.images, self.kept = images, kept

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.kept)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image; raise DataError if it has changed or can't be read."""
        return self.images.read(self.kept[index])

    def name(self, index: int) -> str:
        """Return the name of an image for messages."""
        return self.images.name(self.kept[index])


class ImageFiles(EncodedImages):
    """Read image files, and notice if one has changed since it was inspected."""

    def __init__(self, folder: Path, paths: Sequence[str], digests: Sequence[str]) -> None:
        self.folder, self.paths, self.digests = folder, paths, digests

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def read(self, index: int) -> bytes:
        """Return the bytes of a file; raise DataError if it has changed or can't be read."""
        path = self.folder / self.paths[index]
        return self.verified(index, self.digests[index], lambda: read_file(path))

    def name(self, index: int) -> str:
        """Return a file's path."""
        return printable(str(self.folder / self.paths[index]))


class StoredImages(ABC):
    """Gather images of a network's size that are not held in memory.

    It takes the place of a tensor uint8 (N, C, H, W): it has a shape, and an index selects images.
    rows: int64 (N,), the positions of the images in the data set. digests: of all its encoded
    images.
    """

    def __init__(self, rows: Tensor, digests: Sequence[str], preprocessing: Preprocessing) -> None:
        self.rows, self.digests, self.preprocessing = rows, digests, preprocessing
        self.shape = torch.Size((len(rows), *preprocessing.image_shape))

    def update(self, digest: "hashlib._Hash") -> None:
        """Add the images to a digest: their encoded content, their size and how they get it."""
        described = f"{list(self.shape)} {self.preprocessing.resize}"
        digest.update(described.encode())
        for row in self.rows.tolist():
            digest.update(self.digests[row].encode())

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Return the images at some positions, uint8 (B, C, H, W)."""
        return self.gather(self.rows[index])

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """Return the images at some positions of the data set, uint8 (B, C, H, W)."""

    @abstractmethod
    def select(self, rows: Tensor) -> "StoredImages":
        """Return other images of the same data set."""


class DecodedImages(StoredImages):
    """Decode images each time they are gathered."""

    def __init__(
        self,
        images: EncodedImages,
        rows: Tensor,
        digests: Sequence[str],
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(rows, digests, preprocessing)
        self.images = images

    def gather(self, rows: Tensor) -> Tensor:
        """Return the images at some positions of the data set, uint8 (B, C, H, W)."""
        with ignoring_warnings():
            return self.preprocessing.batch([self._decode(row) for row in rows.tolist()])

    def _decode(self, row: int) -> Pixels:
        return decode_one(self.images, row, self.preprocessing)

    def select(self, rows: Tensor) -> "DecodedImages":
        """Return other images of the same data set."""
        return DecodedImages(self.images, rows, self.digests, self.preprocessing)


def decode_one(images: EncodedImages, index: int, preprocessing: Preprocessing) -> Pixels:
    """Return an image (H, W, C); raise DataError, with its name, if it can't be decoded."""
    try:
        return preprocessing.decode(images.read(index))
    except DataError:
        raise
    except InputError as error:
        raise DataError(f"{images.name(index)}: {error}") from None
