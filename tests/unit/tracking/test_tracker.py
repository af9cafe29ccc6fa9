"""Check the store, the names, the secrets and the precision chosen for a machine."""

import base64
import json
import sqlite3
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from tunebook.networks import MLP
from tunebook.redaction import redact
from tunebook.tracking.describe import run_name
from tunebook.tracking.store import ensure_store, experiment_id
from tunebook.tracking.tracker import rounded
from tunebook.training import precision


def open_store(uri: str) -> str:
    ensure_store(uri)
    return experiment_id(MlflowClient(uri), "one", uri)


@pytest.mark.slow
def test_a_store_is_created_once_by_processes_that_start_together(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/with space/ünï/mlflow.db"
    with ProcessPoolExecutor(4) as pool:
        ids = list(pool.map(open_store, [uri] * 4))
    assert len(set(ids)) == 1
    folder = tmp_path / "with space" / "ünï"
    with sqlite3.connect(folder / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert {path.name for path in folder.iterdir()} <= {
        "mlflow.db",
        "mlflow.db-wal",
        "mlflow.db-shm",
        ".mlflow.db.lock",
    }
    experiment = MlflowClient(uri).get_experiment(ids[0])
    assert experiment.artifact_location == (folder / "mlruns" / "one").as_uri()


def test_a_deleted_experiment_comes_back(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first = open_store(uri)
    MlflowClient(uri).delete_experiment(first)
    assert open_store(uri) == first
    assert MlflowClient(uri).get_experiment(first).lifecycle_stage == "active"


def test_an_experiment_opens_on_its_runs_with_figures_and_settings_as_columns(
    tmp_path: Path,
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tags = MlflowClient(uri).get_experiment(open_store(uri)).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    kind, _, packed = json.loads(tags["mlflow.sharedViewState.tunebook"])["state"].partition(";")
    assert kind == "deflate"
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert {"metrics.`test/acc`", "params.`optimizer`", "params.`model.filters`"} <= set(
        state["selectedColumns"]
    )
    assert {chart["metricKey"] for chart in state["compareRunCharts"]} >= {"val/acc", "val/loss"}


CHOICES = {"optimizer": "adadelta", "model": "keras_cnn"}


@pytest.mark.parametrize(
    ("choices", "settings", "name"),
    [
        ({}, {}, "adadelta"),
        ({}, {"model.filters": 16, "seed": 3}, "adadelta filters=16 seed=3"),
        ({"model": "mlp", "optimizer": "adam"}, {"optimizer.lr": 3e-4}, "adam mlp lr=0.0003"),
    ],
)
def test_a_run_is_named_by_what_differs(
    choices: dict[str, str], settings: dict[str, object], name: str
) -> None:
    defaults = {"model.filters": 32, "seed": 1337, "optimizer.lr": 1.0}
    assert run_name(CHOICES | choices, CHOICES, defaults | settings, defaults) == name


def test_a_name_is_not_too_long() -> None:
    assert len(run_name(CHOICES, CHOICES, {f"a.{i}": "x" * 30 for i in range(30)}, {})) <= 200


SECRET = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", min_size=8
).filter(lambda s: s not in "password")


@given(SECRET)
def test_no_secret_survives(secret: str) -> None:
    secret = f"S3{secret}"
    for text in (
        f"http://user:{secret}@host:5000/x",
        f"tracking.password={secret}",
        f"api_key: '{secret}'",
        f"--token={secret} x",
    ):
        assert secret not in redact(text, {})
    assert secret not in redact(f"so it came to {secret} again", {"DB_PASSWORD": secret})


def test_what_is_no_secret_stays() -> None:
    text = "optimizer.lr=0.1 uri: sqlite:////a/b.db password: ${oc.env:DB_PASSWORD} tokens"
    assert redact(text, {"HOME": "/a/b.db", "X_TOKEN": "lr"}) == text


@given(st.floats(-1e6, 1e6))
def test_rounded_figures_stay_as_they_are(value: float) -> None:
    once = rounded(value)
    assert rounded(once) == once
    assert abs(once - value) <= abs(value) * 1e-6


def test_precision_is_chosen_by_what_the_cpu_has(tmp_path: Path) -> None:
    network = MLP(
        image_shape=(1, 8, 8), num_classes=10, hidden_layers=1, dense_units=8, dense_dropout=0.5
    )
    before = torch.get_rng_state()
    choice = precision.choose("cpu", network, (1, 8, 8), 16, tmp_path)
    assert torch.equal(before, torch.get_rng_state())
    assert choice.reason
    assert choice.precision == "32-true"
    assert ("too small" in choice.reason) == precision.cpu_has_bf16()


def test_what_a_probe_showed_is_kept_and_the_first_one_counts(tmp_path: Path) -> None:
    """The precision that the first probe found is kept, whatever a later one finds.

    Two probes of one machine may differ by noise; two runs of one command may not.
    """
    file = tmp_path / "a machine" / "network.json"
    slow, fast = precision.Choice("32-true", "slow"), precision.Choice("bf16-mixed", "fast")
    assert precision._keep(file, slow) == slow
    assert precision._keep(file, fast).precision == "32-true"
    file.write_text("{")
    assert precision._read(file) is None
    file.write_text('{"precision": "os.system", "reason": ""}')
    assert precision._read(file) is None


def test_the_probe_measures_and_leaves_the_network_alone() -> None:
    network = MLP(
        image_shape=(1, 8, 8), num_classes=10, hidden_layers=1, dense_units=8, dense_dropout=0.5
    )
    before = [parameter.clone() for parameter in network.parameters()]
    assert precision._fp32_over_bf16(network, torch.zeros(16, 1, 8, 8)) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())
