"""Sweeps run on a Ray cluster, as submitit jobs, and with PostgreSQL in place of files."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from tests.conftest import Cli, runs_in
from tests.helpers import faults
from tests.helpers.runs import with_store
from tests.integration.test_sweep import GRID, SHORT, children, figures

LONGER = ("trainer.max_epochs=6",)  # long enough for a fault in the middle
ELSEWHERE = ("-m", *SHORT, *LONGER, "seed=1,2,3,4")


def slow(words: list[str], said: str) -> Any:
    return pytest.param(words, said, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the same sweep, run by processes of this machine."""
    folder = tmp_path_factory.mktemp("here")
    assert (
        faults.run_train((*ELSEWHERE, "sweep.threads=1", *with_store(folder)), folder / "log.txt")
        == 0
    )
    return folder


def assert_each_once(folder: Path, here: Path) -> None:
    """Assert that each trial is complete once, with the metrics that it has on this machine."""
    found = children(folder)
    assert {name: figures(run) for name, run in found.items()} == {
        name: figures(run) for name, run in children(here).items()
    }
    assert {run.data.tags["sweep.state"] for run in found.values()} == {"complete"}
    assert {run.info.status for run in runs_in(folder)} == {"FINISHED"}


@pytest.mark.slow
def test_a_ray_cluster_loses_a_node(here: Path, tmp_path: Path) -> None:
    """A trial on a Ray node that is killed is resumed on the other node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        log = tmp_path / "log.txt"
        arguments = (
            *ELSEWHERE,
            "sweep.executor=ray",
            f"sweep.ray.address={cluster.address}",
            *with_store(tmp_path),
        )
        process = faults.start_train(arguments, log)
        faults.wait_for(lambda: log.exists() and log.read_text().count(" started\n") >= 2, 180)
        faults.wait_for(
            lambda: (
                len(list((tmp_path / "out" / "sweeps").glob("*/000[01]/checkpoints/last.ckpt")))
                == 2
            ),
            60,
        )
        cluster.remove_node(second, allow_graceful=False)
        process.join(180)
        assert process.exitcode == 0, log.read_text()
    finally:
        cluster.shutdown()
    assert "resumes on another worker after the loss of its machine or worker" in log.read_text()
    assert_each_once(tmp_path, here)


@pytest.mark.slow
def test_a_job_is_killed(here: Path, tmp_path: Path) -> None:
    """A submitit job that is killed with a trial is replaced by another job.

    The jobs are processes of this machine.
    """
    log = tmp_path / "log.txt"
    arguments = (
        *ELSEWHERE,
        "sweep.executor=slurm",
        "sweep.slurm.cluster=local",
        "sweep.workers=2",
        *with_store(tmp_path),
    )
    process = faults.start_train(arguments, log)
    faults.wait_for(
        lambda: list((tmp_path / "out" / "sweeps").glob("*/0001/checkpoints/last.ckpt")), 180
    )
    orders = (tmp_path / "out" / "sweeps").glob("*/jobs/*/*/order-0")
    (order,) = [path for path in orders if '"number": 1,' in path.read_text()]
    (job,) = [
        process
        for process in processes_of(order.parent)
        if "submitit.core._submit" in process.cmdline()
    ]
    job.kill()
    process.join(180)
    assert process.exitcode == 0, log.read_text()
    assert "trial 1 resumes on another worker after the end of its job" in log.read_text()
    assert_each_once(tmp_path, here)
    faults.wait_for(lambda: not processes_of(tmp_path))


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes whose command line contains the folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or [])
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["sweep.executor=ray"],
            "error: sweep.executor=ray: needs the package ray, which is an extra: "
            "pip install '.[ray]'\n",
        ),
        slow(
            ["sweep.executor=slurm"],
            "error: sweep.executor=slurm: needs the package submitit, which is an extra: "
            "pip install '.[slurm]'\n",
        ),
        slow(
            ["sweep.storage=postgresql://localhost/x"],
            "needs the package psycopg, which is an extra: pip install '.[postgresql]'",
        ),
    ],
)
def test_an_extra_that_is_missing_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    for package in ("ray", "submitit", "psycopg"):
        monkeypatch.setitem(sys.modules, package, None)
    result = cli("train.py", *GRID, *words, *with_store(tmp_path))
    assert result.code == 2
    assert said in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep.executor=ra"], "must be 'local', 'ray' or 'slurm'. Did you mean 'ray'?"),
        slow(["sweep.executor=slurm"], "sweep.workers is required"),
        slow(["sweep.executor=slurm", "sweep.workers=1"], "srun is not on this machine"),
        slow(
            ["sweep.executor=slurm", "sweep.workers=1", "sweep.slurm.cluster=locl"],
            "Did you mean 'local'?",
        ),
        (
            [
                "sweep.executor=slurm",
                "sweep.workers=1",
                "sweep.slurm.cluster=local",
                "sweep.slurm.more={partitoin: x}",
            ],
            "Did you mean 'partition'?",
        ),
        slow(
            ["sweep.executor=slurm", "sweep.workers=1", "sweep.slurm.timeout_min=0"],
            "sweep.slurm.timeout_min=0",
        ),
        slow(["sweep.threads=0"], "sweep.threads=0"),
        slow(
            ["sweep.storage=postgresql://me:secret@localhost:1/x"], "sweep.storage: can't be opened"
        ),
        (
            ["sweep.storage=sqlite:///{}/mlflow.db"],
            "must be a different database from tracking.uri",
        ),
    ],
)
def test_an_executor_that_cannot_be(cli: Cli, tmp_path: Path, words: list[str], said: str) -> None:
    result = cli(
        "train.py",
        *GRID,
        *(word.replace("{}", str(tmp_path)) for word in words),
        *with_store(tmp_path),
    )
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert said in result.err
    assert "secret" not in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_ray_cluster_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    result = cli(
        "train.py",
        *GRID,
        "sweep.executor=ray",
        "sweep.ray.address=127.0.0.1:1",
        *with_store(tmp_path),
    )
    assert result.code == 2
    assert "sweep.ray.address=127.0.0.1:1: cannot connect to a Ray cluster" in result.err
    assert not (tmp_path / "out").exists()


def programs_of_postgresql() -> Path:
    """Return the folder of PostgreSQL's programs, or skip the test where there is none."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs and shutil.which("initdb") is None:
        pytest.skip("needs PostgreSQL")
    return programs[-1] if programs else Path(str(shutil.which("initdb"))).parent


def new_cluster(where: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """Make a database cluster in `folder`, with a password.

    Return its data's folder and the options with which its processes are started.
    """
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    data, password = folder / "data", folder / "password"
    password.write_text("hunter2")
    folder.chmod(0o755)
    data.mkdir()
    shutil.chown(data, user)
    options = {"user": user} if os.getuid() == 0 else {}
    for parent in folder.parents:
        if os.getuid() == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    initdb = [str(where / "initdb"), "-D", str(data), "-U", "me"]
    initdb += ["--pwfile", str(password), "--auth=scram-sha-256"]
    subprocess.run(initdb, check=True, capture_output=True, **options)
    return data, options


def answers(port: int) -> bool:
    """Return whether the server on a port of loopback accepts a connection."""
    import psycopg

    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(
            host="127.0.0.1", port=port, user="me", password="hunter2", dbname="postgres"
        ).close()
        return True
    return False


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server on loopback and yield its address, with a password."""
    where = programs_of_postgresql()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, options = new_cluster(where, folder)
    command = [str(where / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "-k", str(data)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )
    try:
        faults.wait_for(lambda: answers(port))
        yield f"postgresql://me:hunter2@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


@pytest.mark.slow
def test_postgresql_keeps_the_study_and_the_runs(here: Path, tmp_path: Path) -> None:
    """A sweep with four workers on one database server is killed and resumed."""
    import psycopg

    (tmp_path / "server").mkdir()
    with postgresql(tmp_path / "server") as address:
        log = tmp_path / "log.txt"
        for name in ("study", "runs"):
            with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
        arguments = (*ELSEWHERE, f"sweep.storage={address}/study", f"tracking.uri={address}/runs",
                     f"outputs={tmp_path}/out", "sweep.workers=4", "sweep.threads=1")  # fmt: skip
        process = faults.start_train(arguments, log)
        faults.wait_for(lambda: log.exists() and log.read_text().count(" started\n") >= 2, 180)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert faults.run_train(arguments, log) == 0, log.read_text()
        client = MlflowClient(f"{address}/runs")
        runs = client.search_runs(
            [experiment.experiment_id for experiment in client.search_experiments()]
        )
        found = {
            run.info.run_name.partition(" ")[2]: figures(run)
            for run in runs
            if "sweep.trial" in run.data.tags
        }
        assert found == {name: figures(run) for name, run in children(here).items()}
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert "hunter2" not in log.read_text() + "".join(
            str(run.data.params) + str(run.data.tags) for run in runs
        )
