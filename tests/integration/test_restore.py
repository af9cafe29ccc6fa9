"""A run is restored from its MLflow run, folder or checkpoint, none of which is trusted."""

import csv
import http.server
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits

from tests.conftest import Cli, Finished
from tunebook.training import checkpoint


@pytest.fixture(scope="module")
def file(finished: Finished) -> Path:
    """Return the checkpoint that a finished run has left in MLflow."""
    (found,) = finished.folder.glob("mlruns/**/last.ckpt")
    return found


@pytest.fixture
def served(file: Path) -> Iterator[str]:
    """Serve the checkpoint on loopback and yield its address."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(file.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/last.ckpt"
    server.shutdown()
    server.server_close()


def test_evaluate_takes_a_checkpoint_wherever_it_is(
    cli: Cli, finished: Finished, file: Path, served: str
) -> None:
    for name in (str(file), served):
        result = cli("evaluate.py", f"run='{name}'")
        assert result.code == 0, result.err
        assert f"test/loss  {finished.run.data.metrics['test/loss']}" in result.out


def test_predict_says_what_images_show(
    cli: Cli, finished: Finished, file: Path, tmp_path: Path
) -> None:
    digits = load_digits()
    folder = tmp_path / "my images, ü"
    folder.mkdir()
    for i in range(12):
        Image.fromarray((digits.images[i] * 255 / 16).astype("uint8")).resize((32, 32)).save(
            folder / f"{i}.png"
        )
    result = cli(
        "predict.py", f"run={file}", f"images='{folder}'", f"output='{tmp_path}/table.csv'"
    )
    assert result.code == 0, result.err
    assert result.out.count(" %") == 12
    rows = list(csv.reader((tmp_path / "table.csv").read_text().splitlines()))
    assert rows[0] == ["image", "class", *map(str, range(10))]
    assert len(rows) == 13
    for row in rows[1:]:
        probabilities = [float(value) for value in row[2:]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert row[1] == str(max(range(10), key=probabilities.__getitem__))
    inverted = cli("predict.py", f"run={file}", f"images='{folder}/0.png'", "invert=true")
    assert inverted.code == 0
    assert inverted.out != result.out.splitlines(keepends=True)[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no image", "can't be read as an image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "can't be read as an image"),
    ],
)
def test_a_file_that_is_no_image_is_said(
    cli: Cli, file: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "x.png").write_bytes(content)
    result = cli(
        "predict.py", f"run={file}", f"images={tmp_path}/x.png", f"output={tmp_path}/table.csv"
    )
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert said in result.err
    assert not (tmp_path / "table.csv").exists()


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def hostile(content: dict[str, Any], mark: Path, how: str) -> dict[str, Any]:
    """Return a checkpoint with a valid digest that would do harm."""
    config = OmegaConf.create(content["tunebook"]["config"])
    if how == "pickle":
        return content | {"extra": Hostile(mark)}
    if how == "target":
        config.model = {"_target_": "os.system", "command": f"touch {mark}"}
    if how == "inner target":
        config.model.inner = {"_target_": "subprocess.run"}
    if how == "loader":
        config.optimizer = {"_target_": "torch.load", "f": "x", "weights_only": False}
    if how == "data folder":
        config.data.root = str(mark)
    if how == "store":
        config.tracking.uri = f"sqlite:///{mark}"
    if how == "no config":
        return content | {"tunebook": {}}
    return content | {"tunebook": content["tunebook"] | {"config": OmegaConf.to_yaml(config)}}


@pytest.mark.parametrize(
    "how", ["pickle", "target", "inner target", "loader", "data folder", "store", "no config"]
)
def test_a_checkpoint_does_no_harm(cli: Cli, file: Path, tmp_path: Path, how: str) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "x.ckpt").write_bytes(checkpoint.encode(hostile(checkpoint.read(file), mark, how)))
    result = cli("evaluate.py", f"run={tmp_path}/x.ckpt")
    assert result.code == (0 if how in ("data folder", "store") else 2), result.err
    assert result.err.count("\n") == (0 if result.code == 0 else 1)
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_damaged_checkpoint_is_said(cli: Cli, file: Path, tmp_path: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "x.ckpt").write_bytes(data)
    result = cli("evaluate.py", f"run={tmp_path}/x.ckpt")
    assert result.code == 2
    assert "x.ckpt: is damaged" in result.err


BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model.filters": "${oc.env:A_PASSWORD}"}, "evaluated on this machine"),
        ({"model.filters": "${oc.decode:${oc.env:A_PASSWORD}}"}, "evaluated on this machine"),
        ({"model.filters": "x${oc.env:A_PASSWORD}"}, "evaluated on this machine"),
        ({"model": "${oc.create:{_target_: os.system}}"}, "evaluated on this machine"),
        ({"experiment_name": "${oc.deprecated:model.filters}"}, "evaluated on this machine"),
        ({"model.filters": "${hydra:runtime.cwd}"}, "evaluated on this machine"),
        ({"model.filters": "${root:}"}, "evaluated on this machine"),
        ({"model.filters": "${tracking.uri}"}, "evaluated on this machine"),
        ({"model.filters": "${.kernel_size}"}, "evaluated on this machine"),
        ({"callbacks": {"${oc.env:A_PASSWORD}": 1}}, "evaluated on this machine"),
        ({"optimizer": {"_target_": "${oc.env:A_PASSWORD}"}}, "evaluated on this machine"),
        ({"model.filters": "${model.filters}"}, "no config that can be used"),
        ({"model": {str(n): "${model}" for n in range(20)}}, "at most 8"),
        ({"model": [1]}, "model"),
        ({"data": "x"}, "no config that can be used"),
        ("text", "no config that can be used"),
        ("- 1", "no config that can be used"),
        ("a: [", "no config that can be used"),
        ("a: !!python/object/apply:os.system [touch mark]", "no config that can be used"),
        (BOMB, "no config that can be used"),
        ("a: " + "[" * 3000 + "]" * 3000, "no config that can be used"),
        ("# x\n" * 100_000, "no config that can be used"),
        (None, "no config that can be used"),
        (7, "no config that can be used"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_stored_config_is_not_evaluated(
    cli: Cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, said: str
) -> None:
    monkeypatch.setenv("A_PASSWORD", "31337-31337")
    content = checkpoint.read(file)
    stored = change
    if isinstance(change, dict):
        config = OmegaConf.create(content["tunebook"]["config"])
        for key, value in change.items():
            OmegaConf.update(config, key, value, merge=False, force_add=True)
        stored = OmegaConf.to_yaml(config)
    content["tunebook"]["config"] = stored
    (tmp_path / "x.ckpt").write_bytes(checkpoint.encode(content))
    result = cli("evaluate.py", f"run={tmp_path}/x.ckpt")
    assert result.code == 2, result.out
    assert result.err.count("\n") == 1
    assert said in result.err
    assert "31337" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_stored_reference_to_a_setting_is_followed(cli: Cli, file: Path, tmp_path: Path) -> None:
    content = checkpoint.read(file)
    config = OmegaConf.create(content["tunebook"]["config"])
    config.data.eval_batch_size = "${data.batch_size}"
    content["tunebook"]["config"] = OmegaConf.to_yaml(config)
    (tmp_path / "x.ckpt").write_bytes(checkpoint.encode(content))
    assert cli("evaluate.py", f"run={tmp_path}/x.ckpt").code == 0
