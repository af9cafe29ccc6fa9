"""State what a data set holds, in plain values that a run's checkpoints keep."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from tunebook.config.validation import validate_value

MAX_CLASSES, MAX_NAME, MAX_SIDE, MAX_IMAGES = 100_000, 1000, 4096, 2**40
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
ImageSize = Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None
Channels = Literal[1, 3] | None


@dataclass(frozen=True)
class Contents:
    """State what a data set holds, so that a network for it can be built without its images.

    image_shape: (C, H, W). class_names: in the order of the labels. train_size, test_size: numbers
    of images. val_size: the number of images that the data set itself sets apart for validation;
    0 if a part of the training images is to be taken.
    mean, std: of each channel of the training images in [0, 1], where they have been measured.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_size: int
    test_size: int
    val_size: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def plain(self) -> dict[str, Any]:
        """Return the values as a dictionary of lists, numbers and strings."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def of_plain(cls, values: object) -> "Contents":
        """Return the contents that `plain` wrote; raise ValueError for anything else."""
        if not isinstance(values, Mapping) or set(values) != set(cls.__dataclass_fields__):
            raise ValueError("holds no description of the data set")
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        found = cls(**arguments)
        if not found._is_valid():
            raise ValueError("holds an invalid description of the data set")
        return found

    def _is_valid(self) -> bool:
        sizes = (self.train_size, self.val_size, self.test_size)
        return (
            all(_is_name(name) for name in (self.name, *self._tuple_of_names()))
            and 1 <= len(self.class_names) <= MAX_CLASSES
            and isinstance(self.image_shape, tuple)
            and len(self.image_shape) == 3
            and all(type(side) is int and 1 <= side <= MAX_SIDE for side in self.image_shape)
            and all(type(size) is int and 0 <= size <= MAX_IMAGES for size in sizes)
            and (self.mean is None) == (self.std is None)
            and self._are_per_channel(self.mean, 0)
            and self._are_per_channel(self.std, 1e-6)
        )

    def _tuple_of_names(self) -> tuple[object, ...]:
        return self.class_names if isinstance(self.class_names, tuple) else (None,)

    def _are_per_channel(self, values: object, lowest: float) -> bool:
        return values is None or (
            isinstance(values, tuple)
            and len(values) == self.image_shape[0]
            and all(isinstance(value, float) and lowest <= value <= 1 for value in values)
        )


def resized(
    shape: tuple[int, int, int], image_size: int | Sequence[int] | None, channels: int | None
) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of images that are resized, or converted to grey or RGB.

    image_size: pixels of a square, or (height, width); None keeps the size. channels: 1, 3 or None.
    Raises SettingError if one of them can't be used.
    """
    image_size = validate_value("data.image_size", image_size, ImageSize)
    own_channels, height, width = shape
    if isinstance(image_size, int):
        height = width = image_size
    elif image_size is not None:
        height, width = image_size
    return validate_value("data.channels", channels, Channels) or own_channels, height, width


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= MAX_NAME
