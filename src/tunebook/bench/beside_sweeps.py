"""Measure a random search on the digits beside the same search in other frameworks.

They take turns, a whole command each: 24 trials of an epoch, of the notebook's network on the same
images, recorded in MLflow on SQLite. All trials are in fp32, which is Lightning's default. We and
Ray Tune run two trials at once, with a thread each. Hydra's sweeper runs one after the other in
one process, with all threads. Each peer records the settings and metrics of a trial in MLflow and
writes a checkpoint. We also send MLflow two checkpoints, the config, the packages and the log.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunebook.bench.arrays import save_arrays
from tunebook.bench.commands import DIGITS, seconds_of
from tunebook.bench.peer_process import PeerFailed, run_peer
from tunebook.bench.plain_loop import parts_of
from tunebook.bench.sweeps import MANY, WORKERS
from tunebook.bench.tables import Row, Table, ratios
from tunebook.metrics.facts import LOSS, VALIDATION, full_name

SEARCH = (
    "-m", *DIGITS, "trainer.precision=32-true", "sweep=random", "sweep.space=null",
    "optimizer.lr=tag(log, interval(0.1, 3.0))", "model.conv_dropout=interval(0.0, 0.5)",
    "model.dense_dropout=interval(0.0, 0.7)", f"sweep.workers={WORKERS}",
)  # fmt: skip
# A trial of one epoch has a single validation loss, under the same name in all frameworks.
FINISHED = """
    SELECT COUNT(*) FROM runs JOIN metrics USING (run_uuid)
    WHERE status = 'FINISHED' AND metrics.key = ?
"""


@dataclass(frozen=True)
class Place:
    """Hold where a sweep reads its images and writes everything."""

    arrays: Path
    folder: Path

    @property
    def store(self) -> str:
        """Return MLflow's address."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def finished(self) -> int:
        """Return the number of trials in MLflow that finished their epoch."""
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            (count,) = database.execute(FINISHED, [full_name(VALIDATION, LOSS)]).fetchone()
        return int(count)


@dataclass(frozen=True)
class SweepPeer:
    """Hold how a framework sweeps.

    needs: the packages of its interpreter. option: the one that names the interpreter. ways: name
    -> the words of its script, for a place, a number of trials and the number of the pair.
    """

    name: str
    script: str
    needs: str
    option: str
    ways: dict[str, Callable[[Place, int, int], list[str]]]


def _ray(actors: str) -> Callable[[Place, int, int], list[str]]:
    return lambda place, trials, number: [
        str(place.arrays), place.store, f"{place.folder}/{number}-{actors}", str(trials),
        str(WORKERS), actors,
    ]  # fmt: skip


RAY = SweepPeer(
    "Ray Tune",
    "ray_peer.py",
    "ray[tune], pytorch-lightning and mlflow",
    "--ray-python",
    {
        "Ray Tune, reuse_actors=True": _ray("reuse"),
        "Ray Tune, a process for each trial (its default)": _ray("default"),
    },
)
HYDRA = SweepPeer(
    "Hydra's Optuna sweeper",
    "hydra_optuna_peer.py",
    "hydra-optuna-sweeper, pytorch-lightning and mlflow",
    "--hydra-python",
    {
        "Hydra's Optuna sweeper": lambda place, trials, number: [
            "-m", f"data.file={place.arrays}", f"logger.mlflow.tracking_uri={place.store}",
            f"folder={place.folder}/{number}", f"hydra.sweeper.n_trials={trials}",
        ]
    },
)  # fmt: skip


def _ours(place: Place, trials: int, number: int) -> float:
    before = place.finished()
    seconds = seconds_of(
        "train",
        [*SEARCH, f"sweep.trials={trials}", f"tracking.uri={place.store}",
         f"outputs={place.folder}/{number}", f"experiment_name=pair{number}"],
        0,
    )  # fmt: skip
    if (count := place.finished() - before) != trials:
        raise RuntimeError(f"our sweep finished {count} of {trials} trials")
    return seconds


def _theirs(peer: SweepPeer, way: str, python: str, place: Place, trials: int, pair: int) -> float:
    before = place.finished() if pair else 0
    words = peer.ways[way](place, trials, pair)
    seconds, _ = run_peer(python, peer.script, words, place.folder)
    if (count := place.finished() - before) != trials:
        raise PeerFailed(f"{count} of {trials} trials finished")
    return seconds


def measure_sweeps_beside(peer: SweepPeer, pairs: int, python: str, trials: int = MANY) -> Table:
    """Sweep in turn with each way of a peer and with ours, in `pairs` rounds.

    Before, each trains one trial, which makes its store: of two trials that do so at once, one may
    fail. python: the interpreter that has the peer.
    """
    table = Table(f"a random search of {trials} trials of digits, one epoch, beside {peer.name}")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        save_arrays(parts_of([*DIGITS, "tracking=off"]), arrays)
        places = {name: Place(arrays, Path(folder) / name) for name in ("ours", "theirs")}
        for place in places.values():
            place.folder.mkdir()
        theirs: dict[str, list[float]] = {way: [] for way in peer.ways}
        ours: list[float] = []
        try:
            _theirs(peer, next(iter(theirs)), python, places["theirs"], 1, 0)
            store, outputs = f"tracking.uri={places['ours'].store}", f"outputs={folder}/first"
            seconds_of("train", [*DIGITS, store, outputs], 0)
            for pair in range(1, pairs + 1):
                for way, seconds in theirs.items():
                    seconds.append(_theirs(peer, way, python, places["theirs"], trials, pair))
                ours.append(_ours(places["ours"], trials, pair))
        except PeerFailed as error:
            table.skipped = (
                f"{python} can't sweep with {peer.name} ({error}); "
                f"{peer.option} names an interpreter that has {peer.needs}"
            )
            return table
    table.rows.append(Row("ours", "s", ours))
    for way, seconds in theirs.items():
        table.rows += [Row(way, "s", seconds), Row(f"ours / {way}", "", ratios(ours, seconds))]
    return table
