"""compare.py turns runs in MLflow, good ones and bad ones, into findings and a report."""

import csv
import dataclasses
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Cli, artifacts_of, runs_in
from tests.helpers.stored import Store
from tunebook.analysis.findings import findings
from tunebook.analysis.results import Results, Run, Setting
from tunebook.report import page, terminal
from tunebook.report.read import ComparedRuns
from tunebook.tracking.store import folder_name

SPACE = {
    "optimizer": "adam,sgd", "model.filters": "choice(16, 32)", "seed": "1,2,3",
    "optimizer=adam": {"optimizer.lr": "tag(log, interval(1e-4, 1e-1))"},
    "optimizer=sgd": {"optimizer.lr": "tag(log, interval(1e-2, 10))"},
}  # fmt: skip


def filled(
    folder: Path, configurations: int = 18, seeds: int = 3, name: str = "s"
) -> tuple[Store, str]:
    """Store a sweep with known effects and return the store and the sweep's run id.

    More filters are better by two points. Each optimizer is best in the middle of its learning
    rates.
    """
    store, rng = Store(folder), np.random.default_rng(0)
    parent = store.sweep(name, SPACE, ["data=digits"])
    for number in range(configurations):
        optimizer = "sgd" if number % 2 else "adam"
        position, filters = float(rng.uniform(-1.5, 1.5)), int(rng.choice([16, 32]))
        lr = 10 ** (position - (0.5 if number % 2 else 2.5))
        for seed in range(1, seeds + 1):
            value = 0.95 + 0.02 * (filters == 32) - 0.01 * position**2 + float(rng.normal(0, 0.002))
            params = {
                "optimizer": optimizer,
                "optimizer.lr": lr,
                "model.filters": filters,
                "seed": seed,
            }
            store.trial(
                name, parent, number * seeds + seed, params, (value - 0.1, value - 0.02, value)
            )
    return store, parent


def report_of(store: Store, name: str = "s") -> Path:
    return store.folder / "out" / "reports" / folder_name(name)


def assert_report_is_whole(folder: Path) -> None:
    """Assert that a report has its page, its pictures and its table of 18 configurations."""
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == len(list(folder.glob("*.png")))
    assert not re.search(r"(src|href)=\"?https?:", page)  # the page loads nothing else
    assert {
        "leaderboard.png",
        "importance.png",
        "setting-01.png",
        "parallel.png",
        "curves.png",
        "time.png",
        "history.png",
    } <= {file.name for file in folder.iterdir()}
    rows = list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))
    assert len(rows) == 18
    assert rows[0]["n"] == "3"
    assert float(rows[0]["median"]) == max(float(row["median"]) for row in rows)


@pytest.mark.slow
def test_a_sweep_says_what_mattered(cli: Cli, tmp_path: Path) -> None:
    name = "it's lr, by (chance) 50 %"
    store, parent = filled(tmp_path, name=name)
    result = cli("compare.py", f"sweep={name}", *store.words)
    assert result.code == 0, result.err
    assert re.search(r"^ +n  val/acc, median .* filters .* lr ", result.out, re.M)
    assert re.search(r"^ 1 +3 +9\d\.\d\d % +0\.\d\d +0\.\d\d .* s +32 ", result.out, re.M)
    assert re.search(
        r"^- model\.filters matters \(p .*\): best 32, .*functional ANOVA",
        result.out,
        re.M,
    )
    # Ranges that depend on a choice are different settings.
    assert "optimizer.lr (optimizer=" in result.out
    assert "can't be read" not in result.out + result.err
    assert "indistinguishable from seed noise" in result.out or "better" in result.out
    assert re.search(
        r"^  python src/train\.py -m data=digits .*seed=range\(4,\d+\)", result.out, re.M
    )
    folder = report_of(store, name)
    assert f"report  {folder}/report.html" in result.out
    assert_report_is_whole(folder)
    (own,) = [run for run in runs_in(tmp_path) if run.info.run_id == parent]
    assert {f"report/{file.name}" for file in folder.iterdir()} <= artifacts_of(tmp_path, own)
    again = cli("compare.py", f"sweep={parent}", "report=false", *store.words)
    assert again.out.split("\nreport")[0] == result.out.split("\nreport")[0]


def test_a_filter_finds_runs_of_any_kind(cli: Cli, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(4):
        for model, value in (("cnn", 0.9), ("mlp", 0.8)):
            metrics = {"test/acc": value + 0.001 * seed, "time/fit_s": 3.0 + seed}
            rate = 0.1 if model == "cnn" else 0.2
            params = {"model": model, f"model.{model}_size": 4, "model.rate": rate, "seed": seed}
            words = f"data=digits model={model} model.rate={rate} seed={seed} outputs='a b'"
            tags = {"command": f"python src/train.py {words}"}
            store.run(f"{model} {seed}", params, (value,), tags=tags, metrics=metrics)
    validated = cli("compare.py", "report=false", *store.words)
    # By default, runs are compared by the metric that epochs are chosen by.
    assert re.search(r"^1 +4 +90\.00 % .* cnn ", validated.out, re.M)
    everything = cli("compare.py", "metric=test/acc", *store.words)
    assert everything.code == 0, everything.err
    assert (
        "! test/acc shows how good the winner is; it is not meant for choosing it" in everything.out
    )
    assert "\nnext" not in everything.out
    assert re.search(r"^1 +4 +90\.15 % .* cnn ", everything.out, re.M)
    assert "model.cnn_size" not in everything.out  # the network determines it
    # The network determines model.rate too, but it was given on the command line.
    assert "model=cnn model.rate=0.1" in everything.out
    only = cli(
        "compare.py", "runs=params.model = 'mlp'", "metric=test/acc", "report=false", *store.words
    )
    assert re.search(r"^1 +4 +80\.15 %", only.out, re.M)
    assert "! test/acc" not in only.out  # there is only one configuration to choose
    fastest = cli("compare.py", "metric=time/fit_s", "report=false", *store.words)
    assert re.search(r"^1 +4 +4\.5 ", fastest.out, re.M)


def test_pairs_share_their_seed_and_all_else(cli: Cli, tmp_path: Path) -> None:
    store = Store(tmp_path)
    values = [
        (1, "32-true", 0.5),
        (2, "32-true", 0.7),
        (2, "bf16-mixed", 0.8),
        (1, "bf16-mixed", 0.7),
        (3, "32-true", 0.1),
    ]
    for seed, precision, value in values:
        params = {
            "seed": seed,
            "trainer": precision[:2],
            "trainer.precision": precision,
            "model": "mlp",
        }
        store.run(f"{precision} {seed}", params, metrics={"test/acc": value})
    # t(0.975, 1) = 12.706; the standard deviation is 0.0707.
    said = (
        "bf16-mixed minus 32-true = +15.00 points +- 63.53 points "
        "(mean and 95 % interval of 2 pairs)"
    )
    result = cli("compare.py", "paired=trainer", "report=false", *store.words)
    # The settings that belong to an option are compared with it.
    assert f"trainer: {said.replace('bf16-mixed', 'bf').replace('32-true', '32')}" in result.out
    alone = cli("compare.py", "paired=trainer.precision", "report=false", *store.words)
    assert (alone.code, alone.out) == (2, "")
    assert alone.err == "error: paired=trainer.precision: no two runs differ only in this setting\n"


KINDS = [
    "nothing",
    "failed",
    "not a number",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("one", "no metric", "running")),
]


@pytest.mark.parametrize("kind", KINDS)
def test_poor_sweeps_have_sensible_pages(cli: Cli, tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    parent = store.sweep("s", SPACE)
    params = {"optimizer": "adam", "optimizer.lr": 0.01, "model.filters": 16, "seed": 1}
    if kind == "one":
        store.trial("s", parent, 0, params, (0.5, 0.75))
    if kind == "failed":
        for number in range(4):
            store.trial("s", parent, number, {**params, "seed": number}, (0.5,), "diverged")
    if kind == "no metric":
        for number in range(4):
            store.trial("s", parent, number, {**params, "seed": number}, ())
    if kind == "not a number":
        for number in range(4):
            run_id = store.trial("s", parent, number, {**params, "seed": number}, (0.5,))
            store.client.log_metric(run_id, "best/val_acc", math.nan)
    if kind == "running":
        trial = store.client.create_run(
            store.experiment,
            tags={"sweep.name": "s", "sweep.trial": "0", "mlflow.parentRunId": parent},
        )
        assert trial.info.status == "RUNNING"
    result = cli("compare.py", "sweep=s", *store.words)
    assert result.code == 0, result.err
    expected = "The only configuration compared: " if kind == "one" else "nothing to compare"
    assert expected in result.out
    page = (report_of(store) / "report.html").read_text()
    assert expected in page
    assert "nan" not in page.lower().replace("finance", "")


def test_names_from_runs_are_no_code_on_the_page(cli: Cli, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(3):
        store.run(
            "<script>alert(1)</script>",
            {"model": "<img src=x>", "other": f"<b>{seed}", "seed": seed},
            (0.5,),
        )
    store.run(
        "<script>alert(1)</script>",
        {"model": "<img src=x>", "other": "<i>", "seed": 9},
        (0.5,),
        "failed",
    )
    assert cli("compare.py", "metric=val/acc", *store.words).code == 0
    page = (report_of(store, "tunebook") / "report.html").read_text()
    assert "<script" not in page
    assert "<img" not in page


@pytest.mark.parametrize(
    "start",
    ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\x1b]0;x\x07", "\uff1d1+1"],
)
def test_no_cell_of_the_table_is_a_formula(start: str) -> None:
    settings = (
        Setting(f"{start} name", False, (start, "plain")),
        Setting("optimizer.lr", True, (-1.5, 2), -1.5, 2),
    )
    runs = [
        Run(f"r{seed}", start, {settings[0].name: start, "optimizer.lr": -1.5}, seed, start, 0.5)
        for seed in range(2)
    ]
    results = Results(start, "val/acc", "max", settings, tuple(runs))
    text = page._csv(ComparedRuns(results, (), "", {}, {}, "stem"), findings(results))
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f]", text)
    for line in csv.reader(text.splitlines()):
        for cell in line:
            assert not cell.startswith(("=", "+", "@", "-2", "\uff1d")), cell
    # A number stays a number.
    assert next(csv.DictReader(text.splitlines()))["optimizer.lr"] == "-1.5"


def test_what_runs_say_is_no_command_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[31m\x1b]0;title\x07\u202eevil\nsecond"
    settings = (Setting(name, False, (name, "plain")),)
    runs = [
        Run(f"r{i}", name, {name: (name, "plain")[i % 2]}, i, "complete", 0.5 + i % 2 / 9)
        for i in range(12)
    ]
    results = Results(name, f"val/{name}", "max", settings, tuple(runs))
    terminal.print_findings(
        ComparedRuns(results, (), "", {}, {}, "stem"),
        dataclasses.replace(findings(results), next=()),
    )
    said = capsys.readouterr().out
    assert "\\x1b[31m" in said.replace("\n", "").replace(" ", "")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", said)


def slow(words: list[str], said: str) -> Any:
    return pytest.param(words, said, marks=pytest.mark.slow)


WRONG = [
    (["sweep=t"], "error: sweep=t: no such sweep in MLflow; available: s."),
    slow(["experiment_name=tunebok"], "Did you mean 'tunebook'?"),
    slow(["runs=nonsense ="], "MLflow rejects the filter"),
    slow(["runs=params.model = 'x'"], "no run matches"),
    slow(["metric=val/ac", "experiment_name=tunebook"], "Did you mean 'val/acc'?"),
    slow(["sweep=s", "metric=val/ac"], "Did you mean 'val/acc'?"),
    slow(["sweep=s", "runs=x"], "give only one of them"),
    (["sweep=s", "paired=optimiser.lr"], "Did you mean 'optimizer.lr'?"),
    slow(["sweep=s", "report=perhaps"], "report=perhaps"),
    slow(["sweep=s", "outputs=''"], "outputs=: must be a folder"),
    slow(["sweep=s", "outputs=null"], "outputs=null: must be a folder"),
    (["sweep=s", "outputs=/proc/x"], "outputs=/proc/x: cannot be written"),
    slow(["tracking=off"], "runs are read from MLflow"),
    (["tracking.uri=''"], "tracking.uri=: must be an address"),
    slow(["tracking.uri=sqlite:///{}"], "there is no such store"),
    slow(["tracking.uri=http://127.0.0.1:1"], "can't be reached"),
    slow(["tracking.uri=postgresql://me:secret@127.0.0.1:1/x"], "can't be reached"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_what_cannot_be_compared_is_said_in_a_line(
    cli: Cli, tmp_path: Path, words: list[str], said: str
) -> None:
    store, _ = filled(tmp_path, 2, 1)
    own = [
        word
        for word in store.words
        if word.partition("=")[0] not in {given.partition("=")[0] for given in words}
        and words != ["tracking=off"]
    ]
    result = cli("compare.py", *(word.replace("{}", str(tmp_path)) for word in words), *own)
    assert "secret" not in result.err
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert said in result.err
    assert not (tmp_path / "out" / "reports").exists()


@pytest.mark.slow
def test_two_thousand_runs_take_seconds(cli: Cli, tmp_path: Path) -> None:
    """A comparison of 2000 runs takes seconds.

    Many of them are pruned, so that all learning curves are read.
    """
    store, rng = Store(tmp_path), np.random.default_rng(0)
    parent = store.sweep("s", SPACE)
    for number in range(2000):
        lr, filters = float(10 ** rng.uniform(-4, -1)), int(rng.choice([16, 32]))
        params = {"optimizer": "adam", "optimizer.lr": lr, "model.filters": filters, "seed": 1}
        value = 0.9 + 0.02 * (filters == 32) + float(rng.normal(0, 0.01))
        store.trial(
            "s",
            parent,
            number,
            params,
            (value,) * (2 if number % 3 else 6),
            "pruned" if number % 3 else "complete",
        )
    start = time.monotonic()
    result = cli("compare.py", "sweep=s", *store.words)
    assert result.code == 0, result.err
    said = (
        "Some runs were pruned: settings are compared by the best value up to epoch 6, "
        "which 667 of 2000 have reached"
    )
    assert said in result.out
    assert time.monotonic() - start < 20
