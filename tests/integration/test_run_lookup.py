"""A run is found by its id, name or folder, and other texts are refused early.

"Early" means before anything heavy is imported.
"""

import contextlib
import http.server
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, Cli, Finished, in_folder
from tests.helpers.servers import Server
from tests.helpers.stored import Store
from tunebook.config.validation import InputError
from tunebook.tracking.run_lookup import AmbiguousRun, find_run, find_sweep, require_experiment
from tunebook.tracking.run_reader import ClientReader, Query, Reader, RestReader, SqliteReader
from tunebook.tracking.store import RunNotFound, open_client, require_store

HEAVY = ("torch", "torchvision", "pytorch_lightning", "mlflow", "scipy", "statsmodels")
MAX_S = 2.0  # processor time


class Runs:
    """Fill a store with some runs whose ids a test chooses."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.ids: dict[str, str] = {}
        self.count = 0
        self.add("adam filters=16", "aaaa1111" + "0" * 24)
        self.add("twin", "aaaa2222" + "0" * 24)
        self.add("twin", "bbbb3333" + "0" * 24)  # replaces the other twin in `ids`
        self.add('it\'s "odd", ü\x1b[31m', "cccc4444" + "0" * 24)
        self.add("1e5", "1234e567" + "0" * 24)
        self.add("deleted", "dddd5555" + "0" * 24)
        self.store.client.delete_run(self.ids["deleted"])
        self.add("s", "eeee6666" + "0" * 24, {"sweep.kind": "sweep", "sweep.name": "s"})
        self.add("again", "ffff7777" + "0" * 24, {"reproduces": "aaaa"})

    def add(self, name: str, run_id: str, tags: dict[str, str] | None = None) -> None:
        """Add a run that is newer than those before."""
        made = self.store.run(name, {}, tags=tags)
        with sqlite3.connect(self.store.folder / "mlflow.db") as connection:
            for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
                connection.execute(
                    f"UPDATE {table} SET run_uuid = ? WHERE run_uuid = ?", (run_id, made)
                )
            connection.execute(
                "UPDATE runs SET start_time = ? WHERE run_uuid = ?", (self.count, run_id)
            )
        connection.close()
        self.ids[name], self.count = run_id, self.count + 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


FOUND = [
    ("aaaa1111" + "0" * 24, "aaaa1111"), ("aaaa1", "aaaa1111"), ("AAAA1", "aaaa1111"),
    ("adam filters=16", "aaaa1111"), ("it's \"odd\", ü\x1b[31m", "cccc4444"), ("1234", "1234e567"),
    ("1e5", "1234e567"), ("dddd5555" + "0" * 24, "dddd5555"), ("last", "1234e567"),
    ("eeee", "eeee6666"), ("s", "eeee6666"), ("ffff7", "ffff7777"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "found"), FOUND)
def test_a_run_is_found(runs: Runs, text: str, found: str) -> None:
    assert find_run(runs.uri, text).run_id[:8] == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "twin",
            "run=twin: matches several runs: bbbb3333 (twin), aaaa2222 (twin); "
            "give more characters of the ID",
        ),
        (
            "aaaa",
            "run=aaaa: matches several runs: aaaa2222 (twin), aaaa1111 (adam filters=16); "
            "give more characters of the ID",
        ),
    ],
)
def test_what_may_be_several_runs_is_said(runs: Runs, text: str, said: str) -> None:
    with pytest.raises(AmbiguousRun) as refused:
        find_run(runs.uri, text)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0z0", "the newest is ffff7777 (again)"),
        ("aaaa1112" + "0" * 24, "Did you mean 'aaaa1111"),
        ("adam filter=16", "Did you mean 'adam filters=16'?"),
        ("dddd5555", "no such run"),
        ("deleted", "no such run"),
        ("%", "no such run"),
        ("aaaa%", "no such run"),
        ("' OR 1=1 --", "no such run"),
        ("\udcff\x00\n", r"run=\xff\x00\n: no such run"),
    ],
)
def test_an_unknown_run_is_said_with_the_nearest(runs: Runs, text: str, said: str) -> None:
    with pytest.raises(RunNotFound) as refused:
        find_run(runs.uri, text)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_sweep_is_found_by_name_id_and_last(runs: Runs) -> None:
    for text in ("s", "eeee", "last", runs.ids["s"]):
        assert find_sweep(runs.uri, text).run_id == runs.ids["s"]
    with pytest.raises(RunNotFound, match="sweep=t: no such sweep in MLflow; available: s"):
        find_sweep(runs.uri, "t")
    with pytest.raises(RunNotFound, match=r"no such experiment in .*Did you mean 'tunebook'"):
        require_experiment(runs.uri, "tunebok")
    require_experiment(runs.uri, "tunebook")


def test_a_store_without_sweeps_says_so(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    open_client(uri)
    for text in ("last", "s"):
        with pytest.raises(RunNotFound, match=f"^sweep={text}: there is no sweep in sqlite:"):
            find_sweep(uri, text)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(blacklist_categories=()), max_size=40))
def test_any_text_finds_a_run_or_gets_one_line(runs: Runs, text: str) -> None:
    refused = None
    try:
        found = find_run(runs.uri, text)
    except InputError as error:
        refused = str(error)
    if refused is not None:
        assert refused.isprintable()
    else:
        assert text == "last" or text == found.name or found.run_id.startswith(text.lower())


def test_all_readers_agree(runs: Runs) -> None:
    """The fast reader of an SQLite store agrees with MLflow's client."""
    _agree(SqliteReader(runs.uri), ClientReader(runs.uri), runs)


@pytest.fixture
def server(runs: Runs, tmp_path: Path) -> Iterator[Server]:
    files = (runs.store.folder / "mlflow.db", tmp_path / "server.db")
    there, here = (sqlite3.connect(file) for file in files)
    with contextlib.closing(there), contextlib.closing(here):
        # A copy of the file alone would lack the contents of its write-ahead log.
        there.backup(here)
    with Server(tmp_path) as started:
        yield started


@pytest.mark.slow
def test_a_server_is_asked_as_a_file_is_read(runs: Runs, server: Server, cli: Cli) -> None:
    _agree(RestReader(server.uri), SqliteReader(runs.uri), runs)
    for text, found in FOUND:
        if text.count("'") + text.count('"') < 3:
            assert find_run(server.uri, text).run_id[:8] == found
    spent, result = spend("evaluate.py", "run=aaa", f"tracking.uri={server.uri}")
    assert "no such run" in result.stderr
    assert spent < MAX_S
    assert_light(result.stderr)


def _agree(one: Reader, other: Reader, runs: Runs) -> None:
    for query in (
        Query.every(),
        Query.sweeps(),
        Query.id_prefix("aaaa"),
        Query.name("twin"),
        Query.name("it's"),
    ):
        assert one.search(query) == other.search(query)
    assert one.search(Query.every(), limit=2) == other.search(Query.every(), limit=2)
    # One run is deleted, and one name is there twice.
    assert len(one.search(Query.every())) == len(runs.ids)
    for run_id in (*runs.ids.values(), "0" * 32):
        assert one.get(run_id) == other.get(run_id)
    assert sorted(one.experiments()) == sorted(other.experiments())


def spend(script: str, *arguments: str) -> tuple[float, "subprocess.CompletedProcess[str]"]:
    """Return the processor seconds that a script took, and its result.

    Its standard error names the modules that it imported.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-X", "importtime", str(ROOT / "src" / script), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, result


def assert_light(stderr: str) -> None:
    imported = {
        line.rpartition("|")[2].strip()
        for line in stderr.splitlines()
        if line.startswith("import time:")
    }
    assert not imported & set(HEAVY)


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("evaluate.py", ["run=aaa"], "no such run"),
        ("evaluate.py", ["run=twin"], "matches several runs"),
        ("predict.py", ["run=aaa", f"images={ROOT}/README.md"], "no such run"),
        ("predict.py", ["run=s", f"images={ROOT}/README.md"], "is a sweep, not a run"),
        ("reproduce.py", ["run=aaa"], "no such run"),
        ("reproduce.py", ["run=s"], "is a sweep, not a run"),
        ("compare.py", ["sweep=t"], "no such sweep"),
        ("compare.py", ["experiment_name=x"], "no such experiment"),
        ("compare.py", ["runs=x"], "is not an MLflow filter"),
        ("train.py", ["resume=adam filters=17"], "Did you mean 'adam filters=16'?"),
        ("train.py", ["resume=0000"], "no such run"),
        ("train.py", ["resume=twin"], "matches several runs"),
        ("train.py", ["resume=last"], "there is no run in"),
    ],
)
def test_what_is_no_run_is_refused_in_a_moment(
    runs: Runs, script: str, arguments: list[str], said: str
) -> None:
    outputs = [f"outputs={runs.store.folder / 'out'}"] if script == "train.py" else []
    spent, result = spend(script, *arguments, f"tracking.uri={runs.uri}", *outputs)
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("import time:")]
    assert said in line
    assert_light(result.stderr)
    assert spent < MAX_S


def test_resume_takes_what_evaluate_takes(cli: Cli, finished: Finished, tmp_path: Path) -> None:
    """`resume` finds the runs that evaluate.py finds: a finished one is refused as finished.

    Other texts are refused since they name no run.
    """
    store = in_folder(finished.folder)[0]
    for outputs in (finished.folder / "out", tmp_path / "elsewhere"):
        for text in (
            finished.run.info.run_id[:6],
            finished.run.info.run_name,
            finished.run.info.run_id,
        ):
            result = cli("train.py", f"resume={text}", store, f"outputs={outputs}")
            assert "the run is finished" in result.err, text
            assert result.code == 2
        result = cli("train.py", "resume=none of them", store, f"outputs={outputs}")
        assert "resume=none of them: no such run in" in result.err
        assert result.err.count("\n") == 1


class NotFound(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_whose_address_holds_a_password_is_reached() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    require_store(f"http://me:secret@127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
