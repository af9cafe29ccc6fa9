"""CIFAR's files are read as torchvision reads them, and no pickle of other people runs code.

The archives are made by the tests, so that their digests differ from the official ones.
"""

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets

from tunebook.data.cifar import Cifar
from tunebook.data.download import DataError

LABELS = {"CIFAR10": "labels", "CIFAR100": "fine_labels"}


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def pickled(value: object) -> bytes:
    """Return a pickle with the names of the NumPy that the official files were made with."""
    return pickle.dumps(value, protocol=2).replace(b"numpy._core", b"numpy.core")


def made_archive(dataset: str, path: Path, **replaced: bytes) -> tuple[Cifar, dict[str, bytes]]:
    """Write an archive of a few images, and return a source with its digests, and its files.

    replaced: other contents of files, by their names.
    """
    official: Any = getattr(torchvision.datasets, dataset)
    source, random = Cifar(dataset), np.random.default_rng(0)
    files = {official.meta["filename"]: pickled({official.meta["key"]: list(source.class_names)})}
    for name, _ in official.train_list + official.test_list:
        labels = random.integers(0, len(source.class_names), 4).tolist()
        images = random.integers(0, 256, (4, 3072), np.uint8)
        files[name] = pickled({"data": images, LABELS[dataset]: labels})
    files |= replaced
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{official.base_folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

    class Made(official):  # type: ignore[misc]
        url = "http://127.0.0.1:9/"
        tgz_md5 = md5(path.read_bytes())
        train_list = tuple((name, md5(files[name])) for name, _ in official.train_list)
        test_list = tuple((name, md5(files[name])) for name, _ in official.test_list)
        meta = official.meta | {"md5": md5(files[official.meta["filename"]])}

    source.described = Made
    return source, files


@pytest.mark.parametrize("dataset", LABELS)
def test_files_give_what_torchvision_reads(tmp_path: Path, dataset: str) -> None:
    source, _ = made_archive(dataset, tmp_path / getattr(torchvision.datasets, dataset).filename)
    source.check(tmp_path)
    found = source.load(tmp_path)[:4]
    (tmp_path / source.described.filename).unlink()  # not needed any more
    assert all(torch.equal(a, b) for a, b in zip(found, source.load(tmp_path)[:4], strict=True))
    source.described.train_list = list(source.described.train_list)
    source.described.test_list = list(source.described.test_list)
    for train, images, labels in ((True, *found[:2]), (False, *found[2:])):
        expected = source.described(tmp_path, train=train)
        assert images.dtype == torch.uint8
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), expected.data)
        assert labels.tolist() == expected.targets
    assert tuple(expected.classes) == source.class_names


def test_a_file_with_another_content_is_not_opened(tmp_path: Path) -> None:
    source, files = made_archive("CIFAR10", tmp_path / "cifar-10-python.tar.gz")
    source.load(tmp_path)
    wrong = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    wrong.write_bytes(files["data_batch_2"])
    for use in (source.check, source.load):
        with pytest.raises(DataError, match="data_batch_3 is not the file of this data set"):
            use(tmp_path)
    assert wrong.read_bytes() == files["data_batch_2"]


def test_an_archive_with_another_content_is_not_opened(tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    source, _ = made_archive("CIFAR10", archive)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"cannot download .* its MD5 is"):
        source.load(tmp_path)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


def test_a_pickle_creates_arrays_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    harmful = pickled({"data": Harmful(), "labels": []})
    source, _ = made_archive("CIFAR10", tmp_path / "cifar-10-python.tar.gz", test_batch=harmful)
    with pytest.raises(DataError, match="not allowed"):
        source.load(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_classes_that_are_not_the_expected_ones_are_reported(tmp_path: Path) -> None:
    meta = pickled({"label_names": ["cat", "dog"]})
    source, _ = made_archive(
        "CIFAR10", tmp_path / "cifar-10-python.tar.gz", **{"batches.meta": meta}
    )
    with pytest.raises(DataError, match="other classes than expected: cat, dog"):
        source.load(tmp_path)
