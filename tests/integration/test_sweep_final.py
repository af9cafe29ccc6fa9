"""A final sweep trains a winner on all but the test images and tests each seed once."""

import re
import shlex
import statistics
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.conftest import Cli, artifacts_of, run_process, runs_in
from tests.helpers.runs import with_store
from tests.integration.test_sweep import SHORT
from tunebook.tracking.ui import views

SEARCH = ("-m", *SHORT, "sweep=random", "sweep.space=null", "sweep.name=found", "sweep.trials=2",
          "optimizer.lr=interval(0.5, 1.5)", "trainer.precision=32-true")  # fmt: skip
FINAL = ("-m", "sweep=final", "sweep.of=found", "sweep.seeds=2")
pytestmark = pytest.mark.slow
in_one_process = pytest.mark.xdist_group("final")


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search and the final sweep of its winner."""
    folder = tmp_path_factory.mktemp("final")
    for name, words in (("search", SEARCH), ("final", FINAL)):
        result = run_process("train.py", *words, *with_store(folder))
        assert result.code == 0, result.err
        (folder / f"{name}.txt").write_text(result.out)
    return folder


def sweeps_in(folder: Path) -> dict[str, tuple[Run, list[Run]]]:
    """Return each sweep's own run and its trials, by the option of the group `sweep`."""
    runs = runs_in(folder)
    parents = [run for run in runs if run.data.tags.get("sweep.kind") == "sweep"]
    below = [
        [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        for parent in parents
    ]
    return {
        parent.data.params["sweep"]: (parent, found)
        for parent, found in zip(parents, below, strict=True)
    }


@in_one_process
def test_the_winner_is_trained_on_everything_and_tested_with_several_seeds(
    final: Path, cli: Cli
) -> None:
    assert (
        "next           python src/train.py -m sweep=final \"sweep.of='found'\""
        in (final / "search.txt").read_text()
    )
    _, searched = sweeps_in(final)["random"]
    best = max(searched, key=lambda run: run.data.metrics["best/val_acc"])
    out = (final / "final.txt").read_text()
    assert re.search(
        r"^test accuracy  \d+\.\d\d %, the median of 2 runs "
        r"\(95 % interval \+- \d+\.\d\d points\)$",
        out,
        re.M,
    )
    _, trained = sweeps_in(final)["final"]
    assert {run.data.params["seed"] for run in trained} == {"1", "2"}
    for run in trained:
        assert run.info.run_name.partition(" ")[2] == f"seed={run.data.params['seed']}"
        assert run.data.params["optimizer.lr"] == best.data.params["optimizer.lr"]
        assert "test/acc" in run.data.metrics
        # No epoch is chosen by metrics of images that were trained on.
        assert "best/val_acc" not in run.data.metrics
        (training,) = [
            i.dataset for i in run.inputs.dataset_inputs if i.tags[0].value == "training"
        ]
        assert '"images": 1437' in training.profile  # all but those of the test
    missing = cli("train.py", "-m", "sweep=final", "sweep.of=fond", *with_store(final))
    assert missing.code == 2
    assert re.search(
        r"available: final of found seed \w{8}, found. Did you mean 'found'\?\n$", missing.err
    )


@in_one_process
def test_a_final_sweep_is_a_sweep_like_any_other(final: Path) -> None:
    parent, trained = sweeps_in(final)["final"]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {}
    assert parent.data.params["sweep.of"] == "found"
    assert parent.data.params["optimizer.lr"] == trained[0].data.params["optimizer.lr"]
    assert {"sweep/trials.csv", "sweep/study.db", "sweep/request.json"} <= artifacts_of(
        final, parent
    )
    assert {run.data.params["sweep"] for run in trained} == {"final"}
    assert f"sweep {parent.data.tags['sweep.name']}" in [
        name for name, _ in views(f"sqlite:///{final}/mlflow.db")
    ]


@in_one_process
def test_what_a_final_sweep_says(final: Path) -> None:
    """A final sweep reports the winner's settings, its test metrics and the epochs trained.

    It reports no metric of images that were trained on.
    """
    out = (final / "final.txt").read_text()
    _, trained = sweeps_in(final)["final"]
    lr = trained[0].data.params["optimizer.lr"]
    assert re.search(
        rf"^winner +optimizer.lr={lr}   of found, also trained on the validation images$", out, re.M
    )
    assert "val/acc" not in out
    assert "all trials together: 4 epochs" in out
    for run in trained:
        accuracy = f"{100 * run.data.metrics['test/acc']:.2f} %"
        assert re.search(
            rf"^ *\d +complete +{accuracy} +2 +\d+ s +lr={float(lr):.4g} "
            rf"seed={run.data.params['seed']} *$",
            out,
            re.M,
        )
    median = statistics.median(100 * run.data.metrics["test/acc"] for run in trained)
    (row,) = re.findall(rf"^ *2 +{median:.2f} \+- (\d+\.\d\d) % +lr={float(lr):.4g} *$", out, re.M)
    # The interval is that of the table.
    assert (
        f"test accuracy  {median:.2f} %, the median of 2 runs (95 % interval +- {row} points)"
        in out
    )
    assert "one configuration over seeds (n of them): median +- 95 % interval" in out


@in_one_process
def test_compare_names_the_winner_and_finds_nothing_to_choose(final: Path, cli: Cli) -> None:
    (words,) = re.findall(r"python src/compare\.py (.*)$", (final / "final.txt").read_text(), re.M)
    found = cli("compare.py", *shlex.split(words), "report=false")
    _, trained = sweeps_in(final)["final"]
    median = statistics.median(100 * run.data.metrics["test/acc"] for run in trained)
    lr = f"optimizer.lr={float(trained[0].data.params['optimizer.lr']):.4g}"
    said = f"{lr} with test/acc {median:.2f} %, the median of 2 runs"
    assert f"- The only configuration compared: {said}" in found.out
    value = lr.partition("=")[2]
    assert re.search(rf"^1 +2 .* {re.escape(value)} *$", found.out, re.M)
    assert "not meant for choosing" not in found.out


@in_one_process
def test_the_commands_that_are_printed_work(final: Path, cli: Cli) -> None:
    for file in ("search.txt", "final.txt"):
        commands = re.findall(
            r"python src/(train|compare)\.py (.*)$", (final / file).read_text(), re.M
        )
        assert commands
        for script, words in commands:
            more = ["sweep.dry_run=true"] if script == "train" else [f"outputs={final}/out"]
            result = cli(f"{script}.py", *shlex.split(words), *more)
            assert result.code == 0, (words, result.err)


@in_one_process
def test_a_final_sweep_has_no_winner_of_its_own(final: Path, cli: Cli) -> None:
    name = sweeps_in(final)["final"][0].data.tags["sweep.name"]
    for of, said in (
        (name, "already trains the winner of another sweep"),
        ("../x", "no such sweep"),
    ):
        result = cli("train.py", "-m", "sweep=final", f"sweep.of='{of}'", *with_store(final))
        assert result.code == 2
        assert said in result.err
