"""A journal with valid checksums and malformed records is delivered as far as possible.

The end of its run always arrives.
"""

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from tests.helpers.runs import with_store
from tests.helpers.strangers import tell
from tunebook.run_folder import RunFolder
from tunebook.tracking.arrived import JOURNAL
from tunebook.tracking.delivery import Delivery
from tunebook.tracking.records import KINDS, problem_of, read

SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
ANY = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "a",
        "b/c",
        "../x",
        "/tmp/x",
        "",
        "model",
        "train.log",
        "run.json",
        "x" * 300,
        "\x00",
        "\ud800",
        "é\n",
    ]
)
POINT = st.tuples(
    NAMES, st.floats() | st.integers(-9, 9), st.integers(0, 2**40), st.integers(-3, 9)
).map(list)
FITTING = {
    "points": st.lists(POINT, max_size=3), "file": NAMES, "folder": NAMES, "name": NAMES,
    "move": st.booleans(),
    "time": st.integers(0, 2**41),
    "status": st.sampled_from(["FINISHED", "FAILED", "KILLED", "RUNNING", "x"]),
    "tags": st.dictionaries(NAMES, NAMES, max_size=2),
    "params": st.dictionaries(NAMES, NAMES, max_size=2), "key": st.sampled_from(["0" * 32, "../x"]),
    "experiment": NAMES,
    "parent": st.sampled_from(["", "0" * 32, "x' or '"]),
}  # fmt: skip


def of_kind(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for records of a kind, most of whose values have the right type."""
    values = {
        key: st.one_of(FITTING.get(key, NAMES), FITTING.get(key, NAMES), ANY) for key in KINDS[kind]
    }
    return st.fixed_dictionaries({"kind": st.just(kind)}, optional=values)


RECORDS = st.lists(
    st.one_of(*map(of_kind, sorted(KINDS)), st.dictionaries(st.text(max_size=4), ANY, max_size=3)),
    max_size=8,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    with_store(folder)
    return folder


def assert_the_end_arrives(store: Path, records: list[dict[str, Any]]) -> None:
    path = Path(tempfile.mkdtemp(dir=store))
    uri = f"sqlite:///{store}/mlflow.db"
    run = RunFolder(path, store / "out", key=uuid.uuid4().hex, uri=uri)
    run.write()
    outside = {file: file.read_bytes() for file in store.glob("*.txt")}
    first = {
        "kind": "run",
        "key": run.key,
        "experiment": "e",
        "name": "n",
        "parent": "",
        "params": {},
        "tags": {},
        "time": 0,
    }
    tell(
        path,
        first,
        *records,
        {"kind": "tags", "tags": {"behind": "it"}},
        {"kind": "end", "status": "FINISHED", "time": 1},
    )
    delivery = Delivery(path, uri)
    delivery.send()
    assert delivery.has_ended
    assert not delivery.waiting
    assert list(read(path / JOURNAL))
    found = MlflowClient(uri).search_runs([delivery.experiment_id], "tags.behind = 'it'")
    assert delivery.run_id in [each.info.run_id for each in found]
    assert {each.info.status for each in found} == {"FINISHED"}
    assert outside == {file: file.read_bytes() for file in store.glob("*.txt")}
    shutil.rmtree(path)


def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


@given(records=RECORDS)
@quick(15)
def test_records_of_any_shape_do_not_hold_up_the_end(
    store: Path, records: list[dict[str, Any]]
) -> None:
    assert_the_end_arrives(store, records)


@pytest.mark.slow
@given(records=RECORDS)
@quick(500)
def test_five_hundred_journals_of_any_shape(store: Path, records: list[dict[str, Any]]) -> None:
    assert_the_end_arrives(store, records)


@pytest.mark.parametrize("key", ["mlflow.note.content", "mlflow.experimentKindx", "owner", ""])
def test_a_journal_changes_nothing_of_an_experiment_but_its_views(key: str) -> None:
    assert problem_of({"kind": "view", "tags": {key: "<script>"}})
    assert not problem_of(
        {
            "kind": "view",
            "tags": {"mlflow.sharedViewState.tunebook": "{}", "mlflow.experimentKind": "x"},
        }
    )
