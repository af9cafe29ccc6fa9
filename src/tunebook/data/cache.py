"""Keep the decoded and resized images of a data set in a file, which every run on it can use.

The file's name is a digest of the encoded images and of the preprocessing, so that a file of
another content has another name. It is written under a lock and gets its name when it is whole: of
several processes that start together one writes it, and one that is killed leaves nothing that is
used.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from tunebook import machine
from tunebook.data.decoding import ignoring_warnings
from tunebook.data.download import DataError
from tunebook.data.encoded import Collection, StoredImages, decode_one
from tunebook.data.preprocessing import Preprocessing

log = logging.getLogger(__name__)

FORMAT = "tunebook images 1"
HEADER_BYTES = 4096  # a page, so that the images begin at one
SUFFIX, UNFINISHED, LOCK = ".images", ".unfinished", ".lock"
SPARE = 0.1  # of the disk's free space, which stays free
CHUNK = 256  # images that are decoded before they are written


class CachedImages(StoredImages):
    """Read decoded images from a file at the time when they are gathered.

    The file could be mapped into memory. It is read instead, because the pages of a mapping count
    as memory of the process, which would seem to grow with the data set.
    """

    def __init__(
        self, path: Path, rows: Tensor, digests: Sequence[str], preprocessing: Preprocessing
    ) -> None:
        super().__init__(rows, digests, preprocessing)
        self.path = path
        self._open()

    def _open(self) -> None:
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (as long as this object)
        # `tunebook data clean` keeps a file that has such a lock.
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):
            self._file.close()

    def __getstate__(self) -> dict[str, object]:
        """Return the state without the open file, which another process opens again."""
        return {key: value for key, value in self.__dict__.items() if key != "_file"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Open the file in this process."""
        self.__dict__.update(state)
        self._open()

    def gather(self, rows: Tensor) -> Tensor:
        """Return the images at some positions of the data set, uint8 (B, C, H, W)."""
        shape = self.preprocessing.image_shape
        images, size = np.empty((len(rows), *shape), np.uint8), math.prod(shape)
        descriptor, positions, start = self._file.fileno(), rows.tolist(), 0
        # Positions that follow one another are read at once.
        ends = [*(torch.diff(rows) != 1).nonzero().flatten().add(1).tolist(), len(rows)]
        for end in ends if len(rows) else []:
            offset = HEADER_BYTES + positions[start] * size
            found = os.preadv(descriptor, [images[start:end].data], offset)
            if found != (end - start) * size:
                raise DataError(f"{self.path}: has been cut since the run started")
            start = end
        return torch.from_numpy(images)

    def select(self, rows: Tensor) -> "CachedImages":
        """Return other images of the same file."""
        return CachedImages(self.path, rows, self.digests, self.preprocessing)


def cached(
    collection: Collection, preprocessing: Preprocessing, folder: Path
) -> CachedImages | None:
    """Return all images of a collection from the cache; write it first if it is not there.

    Returns None if the disk has too little space. Raises DataError for an image that can't be
    decoded, and OSError if the folder can't be written to.
    """
    path = folder / f"{_name(collection, preprocessing)}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_whole(path):
        with FileLock(path.with_suffix(LOCK)):
            if not _is_whole(path):  # another process may have written it
                needed = HEADER_BYTES + len(collection.images) * math.prod(
                    preprocessing.image_shape
                )
                if needed > (1 - SPARE) * shutil.disk_usage(folder).free:
                    return None
                _write(path, collection, preprocessing)
    rows = torch.arange(len(collection.images))
    return CachedImages(path, rows, collection.inspection.digests, preprocessing)


def _name(collection: Collection, preprocessing: Preprocessing) -> str:
    digest = hashlib.blake2b(digest_size=16)
    versions = [PIL.__version__, torch.__version__]  # of the decoders and of the resizing
    described = [FORMAT, *versions, list(preprocessing.image_shape), preprocessing.resize]
    digest.update(json.dumps(described).encode())
    for one in collection.inspection.digests:
        digest.update(one.encode())
    return digest.hexdigest()


def _is_whole(path: Path) -> bool:
    """Return whether a cache file is there with the content that its header states."""
    try:
        with open(path, "rb") as file:
            stated = json.loads(file.read(HEADER_BYTES).rstrip(b"\0"))
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        stated, found = {}, ""
    if isinstance(stated, dict) and stated.get("sha256") == found:
        return True
    log.warning("%s: is damaged; the images are decoded again", path)
    return False


def _write(path: Path, collection: Collection, preprocessing: Preprocessing) -> None:
    """Decode all images into a file that gets its name at the end."""
    count, unfinished = len(collection.images), path.with_suffix(UNFINISHED)
    digest = hashlib.sha256()

    def pixels(index: int) -> bytes:
        image = decode_one(collection.images, index, preprocessing)
        return image.transpose(2, 0, 1).tobytes()

    try:
        with (
            open(unfinished, "wb") as file,
            ignoring_warnings(),
            ThreadPoolExecutor(machine.processors()) as threads,
            tqdm(total=count, desc="decoding images", unit="img", delay=1, leave=False) as bar,
        ):
            file.write(bytes(HEADER_BYTES))
            for start in range(0, count, CHUNK):
                chunk = b"".join(threads.map(pixels, range(start, min(start + CHUNK, count))))
                digest.update(chunk)
                file.write(chunk)
                bar.update(min(CHUNK, count - start))
            header = {"format": FORMAT, "images": count, "sha256": digest.hexdigest()}
            file.seek(0)
            file.write(json.dumps(header).encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    log.info("decoded %s images into %s", f"{count:,}", path)
