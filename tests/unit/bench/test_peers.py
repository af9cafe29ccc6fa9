"""Peers do the work that they are measured by, where their packages are installed.

TUNEBOOK_KERAS_PYTHON, TUNEBOOK_RAY_PYTHON and TUNEBOOK_HYDRA_PYTHON name their interpreters.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli
from tunebook.bench import beside_sweeps, whole
from tunebook.bench.beside_sweeps import HYDRA, RAY, Place, SweepPeer, measure_sweeps_beside
from tunebook.bench.peer_process import PEERS, PeerFailed, run_peer
from tunebook.bench.tables import Table

SMALL = ("data=digits", "trainer=cpu", "trainer.max_epochs=2", "trainer.precision=32-true")


def interpreter(name: str) -> str:
    python = os.environ.get(f"TUNEBOOK_{name}_PYTHON", "")
    if not python:
        pytest.skip(f"TUNEBOOK_{name}_PYTHON names no interpreter")
    return python


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """Return an interpreter that has no packages."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -E -s -S "$@"\n')
    python.chmod(0o755)
    return str(python)


def instantly(*rest: object) -> float:
    return 2.0


@pytest.fixture
def _without_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out our own commands, which other tests run."""
    for module in (beside_sweeps, whole):
        monkeypatch.setattr(module, "seconds_of", instantly)
    monkeypatch.setattr(beside_sweeps, "_ours", instantly)
    monkeypatch.setattr(whole, "_tested", instantly)


@pytest.mark.parametrize("script", sorted(file.name for file in PEERS.glob("*_*.py")))
def test_no_script_of_a_peer_needs_tunebook(script: str) -> None:
    assert "import tunebook" not in (text := (PEERS / script).read_text())
    assert "from tunebook" not in text


@pytest.mark.usefixtures("_without_ours")
@pytest.mark.parametrize("peer", [RAY, HYDRA], ids=lambda peer: str(peer.name))
def test_a_sweep_whose_package_is_missing_is_skipped(peer: SweepPeer, bare: str) -> None:
    table = measure_sweeps_beside(peer, 1, bare, trials=1)
    assert not table.rows
    assert table.skipped.startswith(f"{bare} can't sweep with {peer.name} (ModuleNotFoundError: ")
    assert table.skipped.endswith(f"; {peer.option} names an interpreter that has {peer.needs}")


@pytest.mark.usefixtures("_without_ours")
def test_a_run_beside_keras_is_skipped_without_it(bare: str) -> None:
    table = whole.measure_whole(1, SMALL, bare)
    assert not table.rows
    assert table.skipped == (
        f"{bare} can't train with Keras (ModuleNotFoundError: No module named 'keras'); "
        "--keras-python names an interpreter that has keras and tensorflow"
    )


def assert_measured(table: Table, rows: int) -> None:
    assert not table.skipped
    assert [len(row.values) for row in table.rows] == [1] * rows
    assert all(row.values[0] > 0 for row in table.rows)


@pytest.mark.slow
@pytest.mark.usefixtures("_without_ours")
@pytest.mark.parametrize(("peer", "name"), [(RAY, "RAY"), (HYDRA, "HYDRA")])
def test_a_peer_trains_every_trial(peer: SweepPeer, name: str) -> None:
    table = measure_sweeps_beside(peer, 1, interpreter(name), trials=2)
    assert_measured(table, 1 + 2 * len(peer.ways))


@pytest.mark.slow
@pytest.mark.usefixtures("_without_ours")
def test_keras_runs_the_whole_script() -> None:
    assert_measured(whole.measure_whole(1, SMALL, interpreter("KERAS")), 5)


@pytest.mark.slow
def test_our_sweep_trains_every_trial(tmp_path: Path, cli: Cli) -> None:
    place = Place(tmp_path / "arrays.npz", tmp_path)
    result = cli("train.py", *SMALL, f"tracking.uri={place.store}", f"outputs={tmp_path}/first")
    assert (result.code, place.finished()) == (0, 2)  # an epoch each
    assert beside_sweeps._ours(place, 2, 1) > 0
    assert place.finished() == 4


def test_trials_that_did_not_finish_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "finished", lambda place: 1)
    monkeypatch.setattr(beside_sweeps, "run_peer", lambda *rest: (1.0, ""))
    with pytest.raises(PeerFailed, match="1 of 24 trials finished"):
        beside_sweeps._theirs(HYDRA, HYDRA.name, "python", Place(tmp_path, tmp_path), 24, 0)


def test_a_peer_that_fails_says_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebook.bench.peer_process.PEERS", tmp_path)
    (tmp_path / "fails.py").write_text("import sys\nsys.exit('first\\nlast')")
    (tmp_path / "says.py").write_text("import sys\nprint('first')\nprint(sys.argv[1])")
    with pytest.raises(PeerFailed, match=r"^last$"):
        run_peer(sys.executable, "fails.py", [], tmp_path)
    seconds, line = run_peer(sys.executable, "says.py", ["word"], tmp_path)
    assert (line, seconds > 0) == ("word", True)


@pytest.mark.parametrize("option", ["--keras-python", "--ray-python", "--hydra-python"])
def test_an_interpreter_that_is_not_there_is_one_line(cli: Cli, option: str) -> None:
    result = cli("bench.py", f"{option}=nowhere")
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: argument {option}: nowhere is not a program\n"


def test_an_unknown_table_is_one_line(cli: Cli) -> None:
    result = cli("bench.py", "--tables=plain,rays")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "'rays' is not one of plain, keras, whole, " in result.err
