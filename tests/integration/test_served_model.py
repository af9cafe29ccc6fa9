"""The exported model loads and serves in processes that know nothing of Tunebook."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from tunebook.data.preprocessing import NetworkForPixels, Preprocessing
from tunebook.networks import MLP
from tunebook.tracking.model import write_model

LOAD = """
import sys, mlflow.pyfunc, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2])))
assert not {"tunebook", "torchvision", "pytorch_lightning"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NetworkForPixels]:
    folder = tmp_path_factory.mktemp("exported") / "model"
    network = MLP(
        image_shape=(1, 8, 8), num_classes=10, hidden_layers=1, dense_units=8, dense_dropout=0.5
    ).eval()
    whole = NetworkForPixels(Preprocessing((1, 8, 8)), network)
    write_model(whole, torch.zeros(2, 8, 8, 1, dtype=torch.uint8), folder)
    return folder, whole


def pixels(count: int, height: int = 8, width: int = 8) -> np.ndarray:
    """Return images as an image file holds them."""
    random = np.random.default_rng(count)
    return random.integers(0, 256, (count, height, width, 1), dtype=np.uint8)


def expected(network: NetworkForPixels, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(images)).softmax(dim=1).numpy()


@pytest.mark.slow
def test_pyfunc_loads_it_in_a_process_of_its_own(
    exported: tuple[Path, NetworkForPixels], tmp_path: Path
) -> None:
    folder, network = exported
    images = pixels(3, 20, 11)
    np.save(tmp_path / "images.npy", images)
    command = [
        sys.executable,
        "-c",
        LOAD,
        str(folder),
        str(tmp_path / "images.npy"),
        str(tmp_path / "found.npy"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert np.allclose(np.load(tmp_path / "found.npy"), expected(network, images), atol=1e-6)


def test_its_own_loader_is_what_mlflow_is_told(exported: tuple[Path, NetworkForPixels]) -> None:
    """MLflow is given the loader that is exported with the model.

    This is the fast part of the test above, in this process.
    """
    from mlflow.models import Model

    from tunebook.tracking import tunebook_exported_model

    folder, network = exported
    settings = Model.load(str(folder)).flavors["python_function"]
    assert (folder / settings["code"] / f"{settings['loader_module']}.py").is_file()
    images = pixels(3, 20, 11)
    found = tunebook_exported_model._load_pyfunc(str(folder / settings["data"])).predict(images)
    assert np.allclose(found, expected(network, images), atol=1e-6)


def wait_until_served(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Wait until the server answers a ping, and fail where it has ended."""
    deadline = time.monotonic() + 200
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).close()
            break
        except OSError:
            time.sleep(0.5)
    assert server.poll() is None, log.read_text()


@pytest.mark.slow
def test_it_is_served_over_http(exported: tuple[Path, NetworkForPixels], tmp_path: Path) -> None:
    folder, network = exported
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(folder),
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    # MLflow calls uvicorn by its name, which is found in an activated environment.
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with (tmp_path / "log.txt").open("w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_served(server, port, tmp_path / "log.txt")
        for size in (1, 3):
            images = pixels(size, 5 + size, 9)
            body = json.dumps({"inputs": images.tolist()}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, headers)
            answer = json.load(urllib.request.urlopen(request, timeout=60))
            assert np.allclose(answer["predictions"], expected(network, images), atol=1e-5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
