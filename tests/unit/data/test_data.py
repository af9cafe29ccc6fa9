"""Data sets are downloaded, split, ordered and augmented as documented."""

import contextlib
import gzip
import hashlib
import http.server
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tunebook.config.validation import SettingError
from tunebook.data import ImageDataModule, download
from tunebook.data.array_formats import idx_array, idx_bytes
from tunebook.data.augmentation import Affine, NoAugmentation
from tunebook.data.batches import EpochBatchSampler
from tunebook.data.download import DataError, DataFile, check_files, read_files
from tunebook.data.sources import Digits, TorchvisionFiles

PLAIN = {
    "a-idx3": idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
    "b-idx1": idx_bytes(np.arange(5, dtype=np.uint8)),
}
PACKED = {name: gzip.compress(data, mtime=0) for name, data in PLAIN.items()}


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


FILES = [DataFile(name, md5(PACKED[name]), md5(PLAIN[name])) for name in PLAIN]


class LocalMirror:
    """Serve the packed files on loopback, record the requests, and serve garbage on demand."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.garbage = False
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/").removesuffix(".gz")
                mirror.asked.append(name)
                self.send_response(200 if name in PACKED else 404)
                self.end_headers()
                self.wfile.write(b"<html>no</html>" if mirror.garbage else PACKED.get(name, b""))

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = download.Mirror(f"http://127.0.0.1:{self.server.server_port}/")
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def mirror() -> Iterator[LocalMirror]:
    made = LocalMirror()
    yield made
    made.server.shutdown()
    made.server.server_close()


DEAD = download.Mirror("http://127.0.0.1:9/")  # nothing listens there


class TestFiles:
    def test_come_from_the_first_mirror_that_works(
        self, tmp_path: Path, mirror: LocalMirror
    ) -> None:
        assert read_files(tmp_path, FILES, [DEAD, mirror.origin]) == PLAIN
        assert {path.name for path in tmp_path.iterdir()} == {
            ".download.lock",
            "a-idx3.gz",
            "b-idx1.gz",
        }

    def test_are_fetched_once(self, tmp_path: Path, mirror: LocalMirror) -> None:
        for _ in range(3):
            assert read_files(tmp_path, FILES, [mirror.origin]) == PLAIN
        assert sorted(mirror.asked) == sorted(PLAIN)

    @pytest.mark.parametrize("packed", [True, False])
    def test_already_there_need_no_source(self, tmp_path: Path, packed: bool) -> None:
        for name in PLAIN:
            (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(
                PACKED[name] if packed else PLAIN[name]
            )
        assert read_files(tmp_path, FILES, []) == PLAIN

    def test_of_the_same_content_in_other_gzip_bytes_are_accepted(self, tmp_path: Path) -> None:
        for name, data in PLAIN.items():
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data, 1, mtime=5))
        check_files(tmp_path, FILES)
        assert read_files(tmp_path, FILES, []) == PLAIN

    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_changed_in_any_way_are_refused_and_left_as_they_are(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        folder = tmp_path_factory.mktemp("raw")
        name = data.draw(st.sampled_from(["a-idx3.gz", "a-idx3"]))
        good = bytearray(PACKED["a-idx3"] if name.endswith(".gz") else PLAIN["a-idx3"])
        at = data.draw(st.integers(10, len(good) - 1))  # behind the header of a gzip file
        change = data.draw(st.sampled_from(["flip", "cut", "add"]))
        bad = bytes(good[:at]) if change == "cut" else bytes(good) + b"x"
        if change == "flip":
            good[at] ^= 1 << data.draw(st.integers(0, 7))
            bad = bytes(good)
            if name.endswith(".gz"):
                with contextlib.suppress(OSError, EOFError, zlib.error):
                    assume(gzip.decompress(bad) != PLAIN["a-idx3"])  # not all bits are used
        (folder / name).write_bytes(bad)
        for use in (lambda: check_files(folder, FILES), lambda: read_files(folder, FILES, [DEAD])):
            with pytest.raises(DataError) as refused:
                use()
            assert "\n" not in str(refused.value)
            assert f"{folder}/{name} is not the file" in str(refused.value)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: bad}

    def test_that_are_wrong_do_no_harm_beside_the_right_one(self, tmp_path: Path) -> None:
        for name in PLAIN:
            (tmp_path / f"{name}.gz").write_bytes(b"not it")
            (tmp_path / name).write_bytes(PLAIN[name])
        assert read_files(tmp_path, FILES, []) == PLAIN
        assert (tmp_path / "a-idx3.gz").read_bytes() == b"not it"

    def test_that_grow_without_bound_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "LARGEST_BYTES", 1 << 20)
        (tmp_path / "a-idx3.gz").write_bytes(gzip.compress(bytes(1 << 24)))
        (tmp_path / "b-idx1").symlink_to("/dev/zero")
        with pytest.raises(DataError, match="its content is larger than 1048576 bytes"):
            check_files(tmp_path, FILES)
        with pytest.raises(DataError, match="not a regular file"):
            check_files(tmp_path, FILES[1:])

    def test_of_a_mirror_with_another_content_are_not_kept(
        self, tmp_path: Path, mirror: LocalMirror
    ) -> None:
        mirror.garbage = True
        with pytest.raises(DataError, match="has the wrong content"):
            read_files(tmp_path, FILES, [mirror.origin])
        assert {path.name for path in tmp_path.iterdir()} == {".download.lock"}

    def test_that_nobody_has_are_asked_for_in_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as error:
            read_files(tmp_path / "MNIST" / "raw", FILES, [DEAD])
        line = str(error.value)
        assert "\n" not in line
        assert "a-idx3.gz, b-idx1.gz" in line
        assert line.endswith(f"put the files into {tmp_path}/MNIST/raw")

    def test_without_a_known_digest_are_not_used(self, tmp_path: Path) -> None:
        (tmp_path / "a-idx3").write_bytes(PLAIN["a-idx3"])
        with pytest.raises(DataError):
            read_files(tmp_path, [DataFile("a-idx3", md5(PACKED["a-idx3"]), None)], [])

    def test_are_fetched_once_by_processes_that_start_together(
        self, tmp_path: Path, mirror: LocalMirror
    ) -> None:
        with ProcessPoolExecutor(4) as pool:
            found = list(pool.map(read_files, [tmp_path] * 4, [FILES] * 4, [[mirror.origin]] * 4))
        assert found == [PLAIN] * 4
        assert sorted(mirror.asked) == sorted(PLAIN)

    def test_of_a_folder_that_cannot_be_made(self) -> None:
        with pytest.raises(DataError, match=r"set data\.root"):
            read_files(Path("/proc/nowhere"), FILES, [DEAD])


@given(st.lists(st.integers(0, 255), max_size=60))
def test_idx_is_read_as_it_was_written(values: list[int]) -> None:
    array = np.array(values, np.uint8).reshape(-1, 1)
    assert np.array_equal(idx_array(idx_bytes(array)), array)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x08",
        b"\x00\x00\x09\x01\x00\x00\x00\x00",
        b"\x00\x00\x08\x02\x00\x00\x00\x01",
    ],
)
def test_what_is_no_idx_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"IDX|reshape|buffer"):
        idx_array(data)


@pytest.mark.slow
def test_mnist_arrives_whole_and_official(tmp_path: Path) -> None:
    """The official MNIST data set arrives whole.

    This needs the network: a mirror or the package index.
    """
    images = TorchvisionFiles("MNIST").load(tmp_path)
    assert images.train_images.shape == (60_000, 1, 28, 28)
    assert images.test_images.shape == (10_000, 1, 28, 28)
    assert images.train_labels.bincount().tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert images.test_labels.bincount().tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]


def module(seed: int = 0, **changed: object) -> ImageDataModule:
    values = {
        "batch_size": 128,
        "eval_batch_size": 500,
        "val_fraction": 0.1,
        "split_seed": 0,
        "folds": None,
        "fold": 0,
        "validate_on": "split",
        "num_workers": 0,
        "image_size": None,
        "channels": None,
        "resize": "squash",
        "normalize": "none",
        "sampler": "shuffled",
    }
    made = ImageDataModule(
        source=Digits(), augmentation=NoAugmentation(), seed=seed, root="data", **(values | changed)
    )  # type: ignore[arg-type]
    made.setup("fit")
    return made


class TestSplit:
    def test_is_stratified_and_leaves_nothing_out(self) -> None:
        data = module(val_fraction=0.2)
        train, val = data.sets["train"], data.sets["val"]
        assert (len(train), len(val), len(data.sets["test"])) == (1150, 287, 360)
        share = val.labels.bincount() / (train.labels.bincount() + val.labels.bincount())
        assert float((share - 0.2).abs().max()) < 0.01
        both = torch.cat([train.images, val.images]).flatten(1)
        assert torch.equal(
            both.sort(0).values, Digits().load(Path()).train_images.flatten(1).sort(0).values
        )

    def test_depends_on_the_split_seed_only(self) -> None:
        first = module(seed=0).sets["val"].images
        assert torch.equal(first, module(seed=5).sets["val"].images)
        assert not torch.equal(first, module(split_seed=1).sets["val"].images)

    def test_on_test_trains_on_everything(self) -> None:
        data = module(validate_on="test")
        assert len(data.sets["train"]) == 1437
        assert data.sets["val"] is data.sets["test"]

    def test_leaves_enough_of_each_part(self) -> None:
        with pytest.raises(SettingError, match="val_fraction"):
            module(val_fraction=0.999)


class TestOrder:
    @given(
        st.integers(1, 400),
        st.integers(1, 130),
        st.integers(0, 2**32 - 1),
        st.integers(0, 50),
        st.integers(1, 4),
    )
    @settings(max_examples=150, deadline=None)
    def test_each_epoch_is_every_sample_once(
        self, samples: int, batch: int, seed: int, epoch: int, devices: int
    ) -> None:
        parts = [EpochBatchSampler(samples, batch, seed, rank, devices) for rank in range(devices)]
        for part in parts:
            part.set_epoch(epoch)
        batches = [list(part) for part in parts]
        assert {len(b) for b in batches} == {len(parts[0])}
        assert sorted(i for part in batches for b in part for i in b.tolist()) == list(
            range(samples)
        )
        if samples >= devices and batch >= devices:
            assert all(len(b) > 0 for part in batches for b in part)

    @given(st.integers(2, 400), st.integers(1, 130), st.integers(0, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_devices_see_the_batches_that_one_would(
        self, samples: int, batch: int, seed: int
    ) -> None:
        whole = list(EpochBatchSampler(samples, batch, seed))
        halves = [list(EpochBatchSampler(samples, batch, seed, rank, 2)) for rank in (0, 1)]
        for i, (one, two) in enumerate(zip(*halves, strict=True)):
            together = sorted(one.tolist() + two.tolist())
            assert together == sorted(whole[i].tolist()) or i == len(halves[0]) - 1

    def test_is_a_function_of_seed_and_epoch(self) -> None:
        orders = {}
        for seed in (0, 1):
            for epoch in (0, 1):
                batches = EpochBatchSampler(1000, 100, seed)
                batches.set_epoch(epoch)
                orders[seed, epoch] = torch.cat(list(batches))
                assert torch.equal(orders[seed, epoch], torch.cat(list(batches)))
        assert len({tuple(order.tolist()) for order in orders.values()}) == 4

    def test_keeps_the_last_partial_batch(self) -> None:
        assert len(EpochBatchSampler(60_000, 128, 0)) == 469
        assert len(list(EpochBatchSampler(60_000, 128, 0))[-1]) == 60_000 - 468 * 128

    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_is_the_same_with_any_number_of_workers(self, workers: int) -> None:
        expected = [batch.indices for batch in module(seed=3).train_dataloader()]
        found = [batch.indices for batch in module(seed=3, num_workers=workers).train_dataloader()]
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


class TestAffine:
    IMAGES = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    INDEX = torch.arange(6)
    STILL = {"rotation": 0.0, "shear": 0.0, "scale_min": 1.0, "scale_max": 1.0, "shift": 0.0}  # noqa: RUF012

    def affine(self, **changed: float) -> Affine:
        return Affine(**(self.STILL | changed))

    def test_with_no_change_is_the_identity(self) -> None:
        assert torch.allclose(self.affine()(self.IMAGES, self.INDEX, 1), self.IMAGES, atol=1e-5)

    @pytest.mark.parametrize(
        "change", [{"rotation": 10}, {"shear": 10}, {"scale_min": 0.8}, {"shift": 0.2}]
    )
    def test_each_setting_changes_each_image_in_its_own_way(self, change: dict[str, float]) -> None:
        same = self.IMAGES[:1].expand(6, -1, -1, -1)
        out = self.affine(**change)(same, self.INDEX, 1)
        assert out.shape == same.shape
        assert len({tuple(image.flatten().tolist()) for image in out}) == 6

    def test_depends_on_key_and_sample_not_on_the_batch(self) -> None:
        affine = self.affine(rotation=20, shift=0.1)
        whole = affine(self.IMAGES, self.INDEX, 7)
        assert torch.allclose(whole[4:5], affine(self.IMAGES[4:5], self.INDEX[4:5], 7), atol=1e-6)
        assert not torch.allclose(whole, affine(self.IMAGES, self.INDEX, 8))

    def test_shift_is_a_part_of_the_side(self) -> None:
        image = torch.zeros(200, 1, 20, 20)
        image[:, :, 10, 10] = 1
        moved = self.affine(shift=0.25)(image, torch.arange(200), 0)
        rows = (moved.sum((1, 3)) * torch.arange(20)).sum(1) / moved.sum((1, 2, 3)).clamp(min=1e-6)
        assert float((rows - 10).abs().max()) <= 5.01
        assert float((rows - 10).abs().max()) > 4

    def test_scale_shrinks_and_grows(self) -> None:
        image = torch.zeros(1, 1, 100, 100)
        image[:, :, 30:70, 30:70] = 1
        small = self.affine(scale_min=0.5, scale_max=0.5)(image, torch.tensor([0]), 0).sum()
        large = self.affine(scale_min=1.5, scale_max=1.5)(image, torch.tensor([0]), 0).sum()
        assert float(small) == pytest.approx(1600 * 0.25, rel=0.1)
        assert float(large) == pytest.approx(1600 * 2.25, rel=0.1)
