"""A stranger's run folder, journal or tags cost the user no file, secret or other run."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from tests.conftest import Cli, Result, artifacts_of, in_folder, runs_in
from tests.helpers.runs import with_store
from tests.helpers.strangers import canary, change_run_json, hand_over, listing, make_half, tell
from tunebook.config.validation import InputError
from tunebook.run_folder import FILE, RunFolder
from tunebook.tracking.arrived import DELIVERED, JOURNAL

KEYS = [
    "../../victim",
    "/tmp/victim",
    "",
    ".",
    "A" * 32,
    "0" * 31,
    "0" * 33,
    "0" * 32 + "\n",
    "\u0660" * 32,
    5,
    None,
    ["0" * 32],
    True,
]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_half(tmp_path_factory.mktemp("half"))


@pytest.fixture
def strange(half: Path, tmp_path: Path) -> Path:
    """Return the folder of a run that came from elsewhere."""
    return hand_over(half, tmp_path / "strange")


def assert_refused(result: Result, said: str) -> None:
    assert result.code == 2, result.out + result.err
    assert result.err.count("\n") == 1
    assert said in result.err


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_key_is_no_path(cli: Cli, strange: Path, tmp_path: Path, key: Any) -> None:
    (tmp_path / "victim").write_text("mine")
    change_run_json(strange, key=key)
    before = listing(tmp_path)
    assert_refused(
        cli("train.py", f"resume={strange}", *in_folder(tmp_path)), "its run.json is not readable"
    )
    assert listing(tmp_path) == before


@pytest.mark.parametrize("key", ["../../victim", "0" * 31, "x' or name != '"])
def test_a_key_from_a_tracker_is_no_path(cli: Cli, half: Path, tmp_path: Path, key: str) -> None:
    base = half.parents[2]
    assert cli("sync.py", *with_store(base)).code == 0
    for file in base.glob("mlflow.db*"):
        shutil.copy(file, tmp_path)
    (run,) = runs_in(tmp_path)
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").set_tag(run.info.run_id, "tunebook.key", key)
    (tmp_path / "victim").write_text("mine")
    assert_refused(
        cli("train.py", f"resume={run.info.run_id}", *in_folder(tmp_path)),
        "is not 32 hexadecimal digits",
    )
    assert {path.name for path in tmp_path.iterdir() if "mlflow.db" not in path.name} == {"victim"}


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "journal.jsonl",
        "delivered.json",
        "train.log",
        "checkpoints",
        "artifacts/log/x",
        "model/data",
    ],
)
@pytest.mark.parametrize("target", ["file", "folder", "nowhere"])
def test_a_link_in_a_folder_is_refused(
    cli: Cli, strange: Path, tmp_path: Path, name: str, target: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "last.ckpt").write_text("mine")
    link = strange / name
    shutil.rmtree(link) if link.is_dir() else link.unlink(missing_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / target)
    before = listing(tmp_path)
    result = cli("train.py", f"resume={strange}", *in_folder(tmp_path))
    assert_refused(result, "resume=")
    assert listing(tmp_path) == before


def test_a_hard_link_in_a_folder_is_refused(cli: Cli, strange: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (strange / "train.log").unlink(missing_ok=True)
    os.link(tmp_path / "victim", strange / "train.log")
    assert_refused(cli("train.py", f"resume={strange}", *in_folder(tmp_path)), "is a hard link")
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_copied_key_takes_no_run_from_its_owner(tmp_path: Path) -> None:
    """A run folder with a copied key takes no run from its owner.

    Everybody who reads a shared tracking server knows the keys of its runs.
    """
    ours = RunFolder(tmp_path / "ours", tmp_path / "out", uri="sqlite:////x.db")
    ours.open()
    ours.close("KILLED")
    before = listing(tmp_path)
    with pytest.raises(InputError, match=f"has the key of another run, {ours.path}"):
        RunFolder(tmp_path / "theirs", tmp_path / "out", key=ours.key, uri="sqlite:////y.db").open()
    assert listing(tmp_path) == before


def test_a_fifo_in_a_folder_blocks_nobody(cli: Cli, strange: Path, tmp_path: Path) -> None:
    for name in ("checkpoints/last.ckpt", "journal.jsonl", "delivered.json", "run.json"):
        (strange / name).unlink(missing_ok=True)
        os.mkfifo(strange / name)
        assert_refused(cli("train.py", f"resume={strange}", *in_folder(tmp_path)), "resume=")


def hostile_artifacts(folder: Path, user: Path) -> list[dict[str, Any]]:
    """Return records that would read or remove the user's files.

    folder: the run's own. user: the user's.
    """
    (folder / "artifacts").mkdir(exist_ok=True)
    (folder / "artifacts" / "folder").mkdir()
    relative = os.path.relpath(user / "secret.txt", folder)
    files = [
        str(user / "secret.txt"),
        relative,
        f"artifacts/../{relative}",
        "artifacts/folder",
        ".",
        "",
        "artifacts\0x",
        5,
        None,
        ["x"],
    ]
    found = [{"kind": "artifact", "file": file, "folder": "", "move": True} for file in files]
    found += [
        {"kind": "artifact", "file": "train.log", "folder": place, "move": False}
        for place in ("../../..", "/tmp", 3)
    ]
    found += [
        {"kind": "model", "folder": place, "name": "model"}
        for place in (str(user), "..", "artifacts", 7)
    ]
    found += [
        {"kind": "points", "points": points}
        for points in (5, [5], [["a", "b", 1, 1]], [["a", 1.0, 2**80, 1]])
    ]
    return [
        *found,
        {"kind": "artifact"},
        {"kind": "nothing known"},
        {"kind": ["end"]},
        {},
        {"kind": "tags", "tags": {"a": 5}},
    ]


def test_a_journal_reaches_no_file_outside_and_blocks_nothing(
    cli: Cli, half: Path, tmp_path: Path
) -> None:
    """A pending journal touches no file outside its run, and the run's end is delivered."""
    base = tmp_path / "base"
    with_store(base.parent)
    folder = hand_over(half, tmp_path / "out" / "2026-01-01" / "x")
    (folder / DELIVERED).unlink(missing_ok=True)
    user = tmp_path / "user"
    user.mkdir()
    (user / "secret.txt").write_text("mine")
    tell(folder, *hostile_artifacts(folder, user), {"kind": "tags", "tags": {"behind": "it"}})
    run = RunFolder.read(folder)
    change_run_json(folder, uri=f"sqlite:///{tmp_path}/mlflow.db", outputs=str(tmp_path / "out"))
    for which in (".runs", ".pending"):
        (tmp_path / "out" / which).mkdir(exist_ok=True)
        (tmp_path / "out" / which / run.key).symlink_to(folder)
    result = cli("sync.py", *in_folder(tmp_path))
    assert result.code == 0, result.err
    assert result.out.endswith("1 run delivered, 0 not delivered\n")
    assert result.out.count("can't be delivered, skipped") == 1
    assert (user / "secret.txt").read_text() == "mine"
    (found,) = runs_in(tmp_path)
    assert found.info.status == "KILLED"
    assert found.data.tags["behind"] == "it"
    assert not [name for name in artifacts_of(tmp_path, found) if "secret" in name]
    assert cli("sync.py", *in_folder(tmp_path)).out == "0 runs delivered, 0 not delivered\n"


@pytest.mark.parametrize(
    "place",
    [
        "tracking.uri={canary}",
        "+tracking.uri={canary}",
        "outputs={user}",
        "data.root={user}",
        "hydra.run.dir={user}",
    ],
)
def test_a_folder_chooses_no_places(
    cli: Cli, strange: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2-hunter2")
    with canary() as (address, called):
        asked = [place.format(canary=address, user=tmp_path / "user")]
        change_run_json(
            strange, overrides=["data=digits", *asked], uri=address, outputs=str(tmp_path / "user")
        )
        given = [text for text in in_folder(tmp_path) if text.partition("=")[0] not in place]
        result = cli("train.py", f"resume={strange}", *given)
        assert result.code == 2, result.out
        assert result.err.count("\n") == 1
        assert called == []
    assert not (tmp_path / "user").exists()


def test_what_is_left_goes_to_no_store_but_the_one_of_the_call(
    cli: Cli, strange: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2-hunter2")
    with canary() as (address, called):
        change_run_json(strange, uri=address)
        (tmp_path / "out" / ".pending").mkdir(parents=True)
        (tmp_path / "out" / ".pending" / RunFolder.read(strange).key).symlink_to(strange)
        result = cli("sync.py", *with_store(tmp_path))
        assert result.code == 1
        assert f"deliver it with: python src/sync.py tracking.uri={address}\n" in result.out
        assert called == []


NOT_RUN_JSON = {
    "empty": b"", "text": b"no json", "list": b"[]", "number": b"1", "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 90_000,
    "not utf-8": b"\xff\xfe\x00", "long": b" " * (2 << 20) + b"{}", "NaN": b'{"key": NaN}',
    "many digits": b'{"pid": ' + b"9" * 5000 + b"}",
}  # fmt: skip


@pytest.mark.parametrize("content", NOT_RUN_JSON.values(), ids=NOT_RUN_JSON.keys())
def test_a_file_that_is_no_run_json(
    cli: Cli, strange: Path, tmp_path: Path, content: bytes
) -> None:
    (strange / FILE).write_bytes(content)
    assert_refused(
        cli("train.py", f"resume={strange}", *in_folder(tmp_path)), "its run.json is not readable"
    )


ANY = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(), max_size=2)
    | st.just({"a": [1]})
)


@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(RunFolder.__dataclass_fields__)), ANY, min_size=1, max_size=4
    )
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_run_json_of_any_types_is_read_or_refused(
    half: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    shutil.copy(half / FILE, tmp_path / FILE)
    change_run_json(tmp_path, **changes)
    try:
        folder = RunFolder.read(tmp_path)
    except (ValueError, KeyError):
        return
    assert not folder.is_alive
    assert len(folder.key) == 32
    assert str(folder.outputs)


def test_delivered_json_of_any_types_is_read_or_started_anew(half: Path, tmp_path: Path) -> None:
    from tunebook.tracking.arrived import DeliveryState

    shutil.copy(half / JOURNAL, tmp_path / JOURNAL)
    for run_id, offset in (
        ("../../x", 0),
        ("0" * 32, -5),
        ("0" * 32, True),
        ("0" * 32, "7"),
        (7, 0),
        ("0" * 32 + "/../x", 0),
    ):
        text = (
            f'{{"run_id": {run_id!r}, "experiment_id": "1", '
            f'"offset": {offset!r}, "has_ended": false}}'
        )
        (tmp_path / DELIVERED).write_text(text.replace("'", '"').replace("True", "true"))
        found = DeliveryState.read(tmp_path, "sqlite:////x.db")
        assert (found.run_id, found.offset, found.uncertain) == ("", 0, True)
