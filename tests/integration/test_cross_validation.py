"""`-m folds=3` trains once for each fold, and folds are repetitions, not settings."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SMALL, Cli, Result, in_folder, run_process, runs_in

SWEEP = ("-m", *SMALL, "folds=3", "optimizer.lr=0.9,1.0", "sweep.name=cv", "sweep.workers=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Result:
    """Return the result of a sweep of two learning rates over three folds."""
    return run_process("train.py", *SWEEP, *in_folder(folder))


@pytest.mark.slow
@pytest.mark.xdist_group("folds")
class TestSweep:
    def test_each_fold_is_tried(self, sweep: Result, folder: Path) -> None:
        assert sweep.code == 0, sweep.err
        trials = [run.data.params for run in runs_in(folder) if "data.fold" in run.data.params]
        tried = sorted((run["optimizer.lr"], run["data.folds"], run["data.fold"]) for run in trials)
        assert tried == [(lr, "3", str(fold)) for lr in ("0.9", "1.0") for fold in range(3)]

    def test_the_sweep_summarizes_over_folds(self, sweep: Result) -> None:
        assert "over folds (n of them): median +- 95 % interval" in sweep.out
        assert "the median of 3 runs" in sweep.out

    def test_compare_names_folds(self, sweep: Result, folder: Path, cli: Cli) -> None:
        found = cli("compare.py", "sweep=cv", *in_folder(folder))
        assert found.code == 0, found.err
        assert re.search("common folds|folds in common", found.out)
        assert "The fold alone changes val/acc" in found.out
        assert "data.fold=" not in found.out
        assert "train.py -m data.folds=3 " in found.out  # more seeds, each over all folds

    def test_the_winner_is_trained_on_all_images(
        self, sweep: Result, folder: Path, cli: Cli
    ) -> None:
        words = ("-m", "sweep=final", "sweep.of=cv", "sweep.seeds=1", "sweep.workers=1")
        assert cli("train.py", *words, *in_folder(folder)).code == 0
        (final,) = [
            run.data.params for run in runs_in(folder)
            if run.data.params.get("data.validate_on") == "train"
        ]  # fmt: skip
        assert (final["data.folds"], final["data.fold"]) == ("None", "0")
        best = cli("compare.py", "sweep=cv", *in_folder(folder)).out
        assert f"Best: optimizer.lr={final['optimizer.lr']} " in best


REFUSED = {
    "a fold too many": (
        ["data.folds=3", "data.fold=3"],
        "data.fold=3: must be less than",
    ),
    "one fold": (["data.folds=1"], "data.folds=1: must be greater than or equal to 2"),
    "a fold of nothing": (["data.fold=1"], "data.fold=1: must be 0 without folds"),
    "a search": (["-m", "sweep=tpe", "folds=3"], "data.folds=3: a search compares trials on one"),
    "several numbers": (["-m", "folds=3,5"], "data.folds=3,5: applies to the whole sweep"),
    "text": (["-m", "folds=many"], "data.folds=many: must be a valid integer"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_folds_that_make_no_sense(words: str, cli: Cli, tmp_path: Path) -> None:
    overrides, message = REFUSED[words]
    result = cli("train.py", *SMALL, *overrides, *in_folder(tmp_path))
    assert result.code == 2
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_one_fold_trains_on_the_others(cli: Cli, tmp_path: Path) -> None:
    words = ("data.folds=4", "data.fold=2", "trainer.limit_train_batches=1")
    assert cli("train.py", *SMALL, *words, *in_folder(tmp_path)).code == 0
    (run,) = runs_in(tmp_path)
    assert run.data.params["data.fold"] == "2"
    assert np.isfinite(run.data.metrics["val/acc"])
