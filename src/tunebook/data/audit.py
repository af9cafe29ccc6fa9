"""Find what is wrong with a data set before a network is trained on it.

The audit needs a listing and an inspection of the files, and decodes no image. Near duplicates are
found by `tunebook.data.near_duplicates` and added by `Audit.with_near_duplicates`. This module does
not import torch.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunebook.data.inspection import Inspection
from tunebook.data.listing import SPLITS, Listing
from tunebook.data.near_duplicates import NearDuplicates
from tunebook.text_output import printable

ALL = "all"  # the only split of images that are not divided yet
LEFT_OUT = -1
# Which split's images must not be in which other: figures of the first would be too good.
LEAKS = (("test", "train"), ("val", "train"), ("test", "val"))
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Range:
    """Hold the smallest value, the median and the largest."""

    lowest: int
    median: float
    highest: int


@dataclass(frozen=True)
class Leak:
    """Hold the images of a split that have a copy in another split.

    pairs: (image of `split`, its copy in `other`), one pair for each of these images.
    """

    split: str
    other: str
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Audit:
    """Hold what was found out about a data set; images are named by their positions.

    splits: the names of the splits that are there. split_of: int8 (N,), each image's position in
    `splits`; -1 for an image that can't be used or is left out. counts: (classes, splits), the
    number of images. copies: groups of images whose files have the same content, the largest
    first; within a group, training images come first.
    """

    listing: Listing
    inspection: Inspection
    splits: tuple[str, ...]
    split_of: npt.NDArray[np.int8]
    counts: Counts
    copies: tuple[tuple[int, ...], ...]
    near: NearDuplicates | None = None

    def with_near_duplicates(self, near: NearDuplicates) -> "Audit":
        """Return the same audit with the near duplicates among `distinct()`."""
        return dataclasses.replace(self, near=near)

    def distinct(self) -> list[int]:
        """Return the positions of the images that can be used, one of each group of copies."""
        more = {position for group in self.copies for position in group[1:]}
        return [int(place) for place in np.flatnonzero(self.split_of >= 0) if place not in more]

    def name(self, position: int) -> str:
        """Return an image's path in the data set, for messages."""
        return printable(self.listing.paths[position])

    def class_name(self, position: int) -> str:
        """Return the name of an image's class, for messages."""
        return printable(self.listing.class_names[self.listing.labels[position]])

    def split_name(self, position: int) -> str:
        """Return the name of an image's split, or "" if it is left out."""
        return self.splits[self.split_of[position]] if self.split_of[position] >= 0 else ""

    def conflicts(self) -> list[tuple[int, ...]]:
        """Return the groups of copies that are in more than one class."""
        labels = self.listing.labels
        return [group for group in self.copies if len({int(labels[i]) for i in group}) > 1]

    def leaks(self) -> list[Leak]:
        """Return the images of one split whose copies are in another."""
        pairs = {
            (position, other)
            for group in self.copies
            if len({int(self.split_of[position]) for position in group}) > 1
            for position, other in self._across(group)
        }
        return self._leaks(pairs)

    def near_leaks(self) -> list[Leak]:
        """Return the images of one split that look nearly the same as an image of another."""
        if self.near is None:
            return []
        first, second = self.near.first, self.near.second
        is_across = self.split_of[first] != self.split_of[second]
        return self._leaks(zip(first[is_across].tolist(), second[is_across].tolist(), strict=True))

    def _across(self, group: Sequence[int]) -> Iterable[tuple[int, int]]:
        """Yield each image of a group with one image of each other split."""
        first_of: dict[int, int] = {}
        for position in group:
            first_of.setdefault(int(self.split_of[position]), position)
        for position in group:
            for split, other in first_of.items():
                if split != self.split_of[position]:
                    yield position, other

    def _leaks(self, pairs: Iterable[tuple[int, int]]) -> list[Leak]:
        """Return pairs of images by the splits that they are in, one for each image."""
        found: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        for one, other in pairs:
            for position, copy in ((one, other), (other, one)):
                found[self.split_name(position), self.split_name(copy)].setdefault(position, copy)
        return [
            Leak(*names, tuple(sorted(found[names].items()))) for names in LEAKS if found[names]
        ]

    def widths(self) -> Range:
        """Return the smallest, the median and the largest width in pixels."""
        return self._range(self.inspection.widths)

    def heights(self) -> Range:
        """Return the smallest, the median and the largest height in pixels."""
        return self._range(self.inspection.heights)

    def sizes(self) -> int:
        """Return the number of different sizes (width, height)."""
        used = self.split_of >= 0
        both = np.stack([self.inspection.widths[used], self.inspection.heights[used]])
        return int(np.unique(both, axis=1).shape[1])

    def bytes(self) -> int:
        """Return the size of all files together."""
        return int(self.inspection.bytes.sum())

    def _range(self, values: npt.NDArray[np.int32]) -> Range:
        used = values[self.split_of >= 0]
        if not len(used):
            return Range(0, 0.0, 0)
        return Range(int(used.min()), float(np.median(used)), int(used.max()))


def audit(
    listing: Listing,
    inspection: Inspection,
    splits: Sequence[str] | npt.NDArray[np.str_] | None = None,
) -> Audit:
    """Return what is known about a data set without decoding its images.

    splits: "train", "val" or "test" for each image, or "" for one that is left out; None: those of
    the listing, if it states any.
    """
    if splits is None:
        splits = listing.splits
    count = len(listing.paths)
    if splits is None:
        names: tuple[str, ...] = (ALL,)
        split_of = np.zeros(count, dtype=np.int8)
    else:
        given = np.asarray(splits)
        names = tuple(name for name in SPLITS if (given == name).any())
        split_of = np.full(count, LEFT_OUT, dtype=np.int8)
        for place, name in enumerate(names):
            split_of[given == name] = place
    split_of[list(inspection.problems)] = LEFT_OUT
    used = split_of >= 0
    counts = np.zeros((len(listing.class_names), len(names)), dtype=np.int64)
    np.add.at(counts, (listing.labels[used], split_of[used]), 1)
    return Audit(
        listing, inspection, names, split_of, counts, _copies(inspection.digests, split_of)
    )


def _copies(digests: Sequence[str], split_of: npt.NDArray[np.int8]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of usable images with the same digest."""
    groups: Mapping[str, list[int]] = defaultdict(list)
    for position in np.flatnonzero(split_of >= 0).tolist():
        groups[digests[position]].append(position)
    found = [
        tuple(sorted(group, key=lambda place: (split_of[place], place)))
        for group in groups.values()
        if len(group) > 1
    ]
    return tuple(sorted(found, key=lambda group: (-len(group), group)))
