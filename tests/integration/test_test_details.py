"""A run says how sure its test metrics are, and how well each class is recognized."""

import csv
import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

import tunebook
from tests.conftest import Cli, artifacts_of, runs_in
from tests.helpers.runs import RUN, with_store
from tests.helpers.stored import Store
from tests.integration.test_bad_images import photos, train


def test_a_run_records_intervals_and_classes(
    cli: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (*RUN, "trainer.max_epochs=6", "metrics=balanced", *with_store(tmp_path))
    trained = tunebook.train(*words)
    (run,) = runs_in(tmp_path)
    assert {"test/intervals.json", "test/classes.csv"} <= artifacts_of(tmp_path, run)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    file = client.download_artifacts(run.info.run_id, "test/intervals.json", str(tmp_path))
    found = json.loads(Path(file).read_text())
    assert found == json.loads(run.data.tags["test.intervals"])
    tested = {name for name in trained.metrics if name.startswith("test/")}
    assert set(found) == tested
    for name, (low, high) in found.items():
        assert low < trained.metrics[name] < high
    assert not [name for name in run.data.metrics if "interval" in name]
    file = client.download_artifacts(run.info.run_id, "test/classes.csv", str(tmp_path))
    with Path(file).open() as table:
        classes = list(csv.DictReader(table))
    assert [row["class"] for row in classes] == list("0123456789")
    assert sum(int(row["images"]) for row in classes) == 360
    recalls = [float(row["recall"]) for row in classes]
    assert sum(recalls) / 10 == pytest.approx(trained.metrics["test/balanced_acc"], abs=1e-5)
    (log,) = (tmp_path / "out").glob("2*/*/train.log")
    text = log.read_text()
    low, high = found["test/acc"]
    assert f"95 % interval  test cross-entropy {found['test/loss'][0]:.4f} to " in text
    assert f"test accuracy {low:.2%} to {high:.2%}" in text
    assert "(bootstrap of 360 test images)" in text
    assert re.search(r"lowest F1 +\d [\d.]+ \(\d+ images\), \d ", text)
    shown = cli("compare.py", "report=false", *with_store(tmp_path))
    assert shown.code == 0, shown.err
    assert f"[{100 * low:.2f}, {100 * high:.2f}]" in shown.out


@pytest.mark.parametrize("value", ["nonsense", "[]", '{"test/acc": 3}', "[" * 10_000])
def test_a_tag_of_another_form_is_left_out(cli: Cli, tmp_path: Path, value: str) -> None:
    store = Store(tmp_path)
    metrics = {"best/val_acc": 0.8, "val/acc": 0.8, "test/acc": 0.7}
    store.run("one", {"model": "mlp"}, metrics=metrics, tags={"test.intervals": value[:5000]})
    shown = cli("compare.py", "report=false", *store.words)
    assert shown.code == 0, shown.err
    assert "70.00 %" in shown.out
    assert "[" not in shown.out


def test_two_runs_are_compared_image_by_image(cli: Cli, tmp_path: Path) -> None:
    places = with_store(tmp_path)
    first, second = (tunebook.train(*RUN, f"seed={seed}", *places) for seed in (1, 2))
    result = cli("compare.py", f"runs=[{first.id},{second.id[:8]}]", *places)
    assert result.code == 0, result.err
    tested = [run.metrics["test/acc"] for run in (first, second)]
    assert f"A  {tested[0]:.2%} right, alone with " in result.out
    assert f"B  {tested[1]:.2%} right, alone with " in result.out
    only = [int(count) for count in re.findall(r"alone with (\d+) image", result.out)]
    assert only[0] - only[1] == round(360 * (tested[0] - tested[1]))
    assert re.search(r"McNemar's exact test: p = [\d.e-]+, so ", result.out)
    (file,) = (tmp_path / "out" / "reports").rglob("disagreements.csv")
    assert f"report  {file}" in result.out
    with file.open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) >= sum(only)
    assert all(row["a"] != row["b"] for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs=[last]"], "must be a filter, or a list of two runs"),
        (["runs=[last,last]"], "must be a filter, or a list of two runs"),
        (["runs=[last,nonsense]"], "runs=nonsense: no such run"),
        (["runs=[last,nonsense]", "metric=test/acc"], "can't be used with a list of two runs"),
    ],
)
def test_a_wrong_pair_is_one_line(cli: Cli, tmp_path: Path, words: list[str], said: str) -> None:
    store = Store(tmp_path)
    store.run("one", {"model": "mlp"}, metrics={"val/acc": 0.8})
    result = cli("compare.py", *words, *store.words)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert said in result.err


def test_runs_without_predictions_or_of_other_images_are_refused(cli: Cli, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("one", "two"):
        store.run(name, {"model": "mlp"}, metrics={"val/acc": 0.8})
    result = cli("compare.py", "runs=[one,two]", *store.words)
    assert result.code == 2
    assert "has no test/predictions.csv" in result.err


def test_predictions_name_the_users_own_images(cli: Cli, tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    result = train(cli, tmp_path, f"data.root={root}")
    assert result.code == 0, result.err
    (run,) = runs_in(tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    tables = []
    for name in ("test/predictions.csv", "data/split.csv"):
        file = client.download_artifacts(run.info.run_id, name, str(tmp_path))
        with Path(file).open() as table:
            tables.append(list(csv.DictReader(table)))
    predictions, images = tables
    assert {(row["image"], row["label"]) for row in predictions} == {
        (row["path"], row["label"]) for row in images if row["split"] == "test"
    }
