"""Describe a data set of encoded images, such as JPEG files, that are decoded when needed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tunebook.data.inspection import Inspection
from tunebook.data.listing import Listing


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

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of an image for messages, such as its path."""


@dataclass(frozen=True)
class Collection:
    """Hold a listing of encoded images, what is known about each, and their reader."""

    listing: Listing
    inspection: Inspection
    images: EncodedImages
