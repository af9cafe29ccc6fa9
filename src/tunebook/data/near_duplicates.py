"""Find images that look nearly the same, although their files differ.

Two images are near duplicates if their perceptual hashes (pHash, by the package imagehash, 64 bits)
differ in a few bits only, and if their pixels, reduced to 16 x 16, are highly correlated. The hash
finds the candidates; by itself it takes many different images for copies, such as the simple
drawings and digits of MNIST. This module does not import torch.
"""

import functools
import itertools
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from tunebook import machine
from tunebook.config.validation import InputError
from tunebook.data.decoding import decode_small
from tunebook.data.thumbnails import Read

Positions = npt.NDArray[np.int64]

# Measured on 2,000 crops of 14 photographs: with 6 bits and a correlation of 0.97, 99 % of the
# copies at JPEG quality 75 are found, all at half the size, and no two crops that share less
# than a third of their area. With the hash alone, there are 7 of these pairs; and among 3,000
# images of MNIST, 4,905 pairs in place of 95.
THRESHOLD = 6  # bits
MAX_THRESHOLD = 10
CORRELATION = 0.97
SIDE = 16  # of the reduced images that are compared
HASH_SIDE = 32  # of the image that pHash computes its bits from
LEAST_CONTRAST = 2.0  # standard deviation of grey levels; an image with less is of one colour
BITS = 64
NEIGHBOURS = 256  # that an image is compared with, among those that share some bits
MAX_CANDIDATES = 4_000_000  # pairs with similar hashes; beyond these, the search ends
CHUNK = 256  # images per task of a thread
COMPARED = 2**14  # pairs whose pixels are compared at a time


@dataclass(frozen=True)
class NearDuplicates:
    """Hold the pairs of images that look nearly the same.

    first, second: positions in the listing, with first < second. distances: number of bits in which
    the hashes differ. blank: images of almost one colour, which are not compared. failed: position
    -> why it could not be decoded. is_complete: whether no pair can be missing.
    """

    threshold: int
    first: Positions
    second: Positions
    distances: npt.NDArray[np.int64]
    blank: tuple[int, ...] = ()
    failed: dict[int, str] = field(default_factory=dict)
    is_complete: bool = True

    def groups(self) -> list[list[int]]:
        """Return the groups of images that are connected by pairs, the largest first."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        nodes, places = np.unique(np.concatenate([self.first, self.second]), return_inverse=True)
        if not len(nodes):
            return []
        rows, columns = np.split(places.reshape(-1), 2)
        graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), (len(nodes),) * 2)
        count, labels = connected_components(graph, directed=False)
        order = np.argsort(labels, kind="stable")
        parts = np.split(nodes[order], np.cumsum(np.bincount(labels, minlength=count))[:-1])
        return sorted((part.tolist() for part in parts), key=lambda part: (-len(part), part))


def find_near_duplicates(
    positions: Sequence[int],
    read: Read,
    threshold: int = THRESHOLD,
    show_progress: bool = True,
) -> NearDuplicates:
    """Return the near duplicates among the images at some positions.

    Each image is decoded, in threads. An image that can't be decoded is left out.
    positions: of images that are not exact duplicates of each other. threshold: the largest number
    of bits, 0 to 10, in which the hashes of near duplicates differ.
    """
    hashes, pixels, failed = _look_at(positions, read, show_progress)
    kept = np.array([place for place in positions if place not in failed], dtype=np.int64)
    is_blank = _contrasts(pixels) < LEAST_CONTRAST
    blank, kept = kept[is_blank], kept[~is_blank]
    first, second, distances, is_complete = near_pairs(
        hashes[~is_blank], pixels[~is_blank], threshold
    )
    order = np.lexsort((second, first, distances))
    low, high = (np.sort(np.stack([kept[first], kept[second]]), axis=0))[:, order]
    return NearDuplicates(
        threshold, low, high, distances[order], tuple(blank.tolist()), failed, is_complete
    )


def near_pairs(
    hashes: npt.NDArray[np.uint64], pixels: npt.NDArray[np.uint8], threshold: int
) -> tuple[Positions, Positions, npt.NDArray[np.int64], bool]:
    """Return the positions of the images of each pair, the distances, and whether that is all.

    hashes: (N,). pixels: (N, K), the reduced images, none of which is of one colour.

    The 64 bits are divided into `threshold` + 2 parts. Two hashes that differ in at most
    `threshold` bits agree in two parts at least: only images that agree in two are compared.
    Each is compared with the next 256 of them at most, in the order of their hashes: the time is
    proportional to N, and of very many equal images each still has a pair.
    """
    count, is_complete = len(hashes), True
    seen = np.empty(0, dtype=np.int64)  # first * N + second
    for key in _keys(hashes, threshold):
        order = np.lexsort((hashes, key))
        places = key[order]
        is_complete &= not (places[NEIGHBOURS + 1 :] == places[: -NEIGHBOURS - 1]).any()
        near, total = [seen], len(seen)
        for left, right in _neighbours(places):
            one, other = order[left], order[right]
            is_near = np.bitwise_count(hashes[one] ^ hashes[other]) <= threshold
            one, other = one[is_near], other[is_near]
            near.append(np.minimum(one, other) * count + np.maximum(one, other))
            total += len(one)
            if total > 2 * MAX_CANDIDATES:
                break
        seen = np.sort(np.concatenate(near))
        seen = seen[np.diff(seen, prepend=-1) > 0]  # np.unique is many times slower on these
        if len(seen) > MAX_CANDIDATES:
            is_complete = False
            break
    first, second = np.divmod(seen, max(count, 1))
    is_alike = _are_alike(pixels, first, second)
    first, second = first[is_alike], second[is_alike]
    distances = np.bitwise_count(hashes[first] ^ hashes[second]).astype(np.int64)
    return first, second, distances, is_complete


def _keys(hashes: npt.NDArray[np.uint64], threshold: int) -> Iterator[npt.NDArray[np.uint64]]:
    """Yield the bits of two parts of each hash, for every two of the parts."""
    parts = np.array_split(np.arange(BITS, dtype=np.uint64), threshold + 2)
    masks = [np.bitwise_or.reduce(np.uint64(1) << part) for part in parts]
    for one, other in itertools.combinations(masks, 2):
        yield hashes & (one | other)


def _neighbours(keys: npt.NDArray[np.uint64]) -> Iterator[tuple[Positions, Positions]]:
    """Yield the places of every two equal keys that are at most NEIGHBOURS apart.

    keys: sorted. Places of the same distance to each other are yielded together.
    """
    left = np.arange(len(keys))
    for step in range(1, NEIGHBOURS + 1):
        left = left[left + step < len(keys)]
        left = left[keys[left] == keys[left + step]]
        if not len(left):
            return
        yield left, left + step


def _are_alike(
    pixels: npt.NDArray[np.uint8], first: Positions, second: Positions
) -> npt.NDArray[np.bool_]:
    """Return for each pair whether its pixels are highly correlated."""
    means = pixels.mean(axis=1, dtype=np.float32)
    found = np.empty(len(first), dtype=bool)
    for start in range(0, len(first), COMPARED):
        part = slice(start, start + COMPARED)
        one = pixels[first[part]] - means[first[part], np.newaxis]
        other = pixels[second[part]] - means[second[part], np.newaxis]
        squares = np.einsum("nk,nk->n", one, one) * np.einsum("nk,nk->n", other, other)
        found[part] = np.einsum("nk,nk->n", one, other) >= CORRELATION * np.sqrt(squares)
    return found


def _contrasts(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the standard deviation of each image's pixels, without a copy of all of them."""
    parts = np.array_split(pixels, -(-len(pixels) // COMPARED) or 1)
    return np.concatenate([part.std(axis=1) for part in parts])


def _look_at(
    positions: Sequence[int], read: Read, show_progress: bool
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8], dict[int, str]]:
    """Return the hashes and the reduced pixels of the images, and why others can't be decoded."""
    hashes: list[npt.NDArray[np.uint64]] = [np.empty(0, dtype=np.uint64)]
    pixels = [np.empty((0, SIDE * SIDE), dtype=np.uint8)]
    failed: dict[int, str] = {}
    chunks = [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]
    describe = functools.partial(_describe, read=read)
    with (
        warnings.catch_warnings(action="ignore"),  # Pillow's; here, because threads share filters
        ThreadPoolExecutor(machine.processors()) as threads,
        tqdm(
            total=len(positions), desc="comparing images", unit="img", delay=1, leave=False,
            disable=None if show_progress else True,
        ) as bar,
    ):  # fmt: skip
        try:
            for chunk, found in zip(chunks, threads.map(describe, chunks), strict=True):
                hashes.append(found[0])
                pixels.append(found[1])
                failed |= found[2]
                bar.update(len(chunk))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for the rest
            raise
    return np.concatenate(hashes), np.concatenate(pixels), failed


def _describe(chunk: Sequence[int], read: Read) -> tuple[Any, Any, dict[int, str]]:
    """Return the hashes, the reduced pixels and the failures of a few images."""
    import imagehash

    hashes: list[int] = []
    pixels: list[npt.NDArray[np.uint8]] = []
    failed: dict[int, str] = {}
    for position in chunk:
        try:
            grey = decode_small(read(position), HASH_SIDE).convert("L")
        except InputError as error:
            failed[position] = str(error)
            continue
        small = grey.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.LANCZOS)
        bits = imagehash.phash(small).hash
        hashes.append(int.from_bytes(np.packbits(bits).tobytes(), "big"))
        pixels.append(np.asarray(small.reduce(HASH_SIDE // SIDE)).reshape(-1))
    reduced = np.array(pixels, dtype=np.uint8).reshape(-1, SIDE * SIDE)
    return np.array(hashes, dtype=np.uint64), reduced, failed
