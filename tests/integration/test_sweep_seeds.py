"""A sweep treats seeds as repetitions, not settings, and reports what compare.py reports."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
import pytest
from mlflow.entities import Dataset, DatasetInput
from rich.console import Console

from tests.conftest import Cli
from tests.helpers.stored import Store
from tunebook.metrics.facts import TESTED
from tunebook.sweeps.final import find_winner
from tunebook.sweeps.points import read
from tunebook.sweeps.request import Request
from tunebook.sweeps.result import TrialResult
from tunebook.sweeps.show import Display
from tunebook.sweeps.storage import open_storage
from tunebook.sweeps.study import SweepStudy
from tunebook.text_output import counted

WORDS = ("data=digits", "sweep=grid")
# Most runs with 8 filters are no better than guessing one of 10 digits.
FILTERS = {
    4: (0.101, 0.80, 0.84, 0.82),
    8: (0.97, 0.11, 0.13, 0.14),
}
SPACE = {"model.filters": "choice(4, 8)", "seed": "range(1, 5)"}


def trained(
    request: Request,
    values: Mapping[object, Sequence[float]],
    storage: optuna.storages.BaseStorage | None = None,
) -> SweepStudy:
    """Return the study of a grid whose trials have these values, by their number of filters.

    Each value of the test is a point lower.
    """
    study = SweepStudy(request, storage or optuna.storages.InMemoryStorage())
    study.begin()
    while (trial := study.next()) is not None:
        words = dict(word.split("=") for word in trial.overrides)
        value = values[int(words["model.filters"]) if "model.filters" in words else None][
            int(words["seed"]) - 1
        ]
        figures = {TESTED: value - 0.01}
        study.record(trial.number, TrialResult("COMPLETE", value, {1: value}, figures))
    return study


def said_of(
    study: SweepStudy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> str:
    """Return what a sweep prints at its end: its tables, and below them its log lines."""
    caplog.set_level(logging.INFO)
    Display(study, 1, 1, tracks=True).say_how_it_ended(Path("sweeps"))
    return capfd.readouterr().out + "\n".join(record.getMessage() for record in caplog.records)


def stored(folder: Path, values: Mapping[int, Sequence[float]]) -> Store:
    """Store the same trials in MLflow, with the data sets that a run logs."""
    store = Store(folder)
    parent = store.sweep("s", SPACE, ["data=digits"])
    profile = json.dumps({"images": 1293, "classes": 10})
    for number, (filters, seed) in enumerate(
        (filters, seed) for filters in values for seed in range(1, 5)
    ):
        value = values[filters][seed - 1]
        run_id = store.trial(
            "s",
            parent,
            number,
            {"data": "digits", "model.filters": filters, "seed": seed},
            (value,),
        )
        store.client.log_metric(run_id, TESTED, value - 0.01)
        store.client.log_inputs(
            run_id,
            [DatasetInput(Dataset("digits train", str(filters), "local", "{}", None, profile))],
        )
    return store


def test_a_sweep_and_compare_leave_out_the_same_runs(
    cli: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A sweep and compare.py leave out the same runs.

    The number of classes says which runs are at chance level. Medians, intervals, order and
    failure rates are the same.
    """
    request, _ = read([*WORDS, "model.filters=4,8", "seed=range(1,5)"])
    said = said_of(trained(request, FILTERS), caplog, capfd)
    compared = cli("compare.py", "sweep=s", "report=false", *stored(tmp_path, FILTERS).words)
    assert compared.code == 0, compared.err
    rows = [
        (r"82\.00", r"6\.23", r"81\.00", 4, "1 of 4"),
        (r"97\.00", "", r"96\.00", 8, "3 of 4"),
    ]
    for median, width, tested, filters, failed in rows:
        spread = rf" \+- {width}" if width else ""
        settings = rf"filters={filters}  \({failed} did not learn\)"
        assert re.search(rf"^4 +{median}{spread} % +{tested}{spread} % +{settings}", said, re.M)
        assert re.search(
            rf"^\d +4 +{median} % +[\d.]* +{width} +{tested} % .* {failed} +{filters} *$",
            compared.out,
            re.M,
        )
    # A configuration most of whose runs fail is not the best.
    assert said.index("(1 of 4") < said.index("(3 of 4")
    failures = (
        "4 of 8 runs (50 %) did not learn: val/acc up to 15.00 %, "
        "the level of guessing with 10 classes."
    )
    assert failures in said
    assert failures in compared.out
    best = "82.00 %, the median of the 3 of 4 runs that learned (95 % interval +- 6.23 points)"
    assert f"best           val/acc {best}   model.filters=4" in said
    assert f"- Best: model.filters=4 with val/acc {best}." in compared.out


def test_a_sweep_over_seeds_alone_has_one_configuration_and_no_best_seed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    request, _ = read([*WORDS, "model.filters=4", "outputs=x", "seed=1,2,3"])
    study = trained(request, {None: (0.5, 0.6, 0.9)})
    said = said_of(study, caplog, capfd)
    assert re.search(r"^one configuration over seeds .*median \+- 95 % interval$", said, re.M)
    assert re.search(
        r"^3 +60\.00 \+- 64\.81 % +59\.00 \+- 64\.81 % +digits filters=4 *$", said, re.M
    )
    assert "val/acc        60.00 %, the median of 3 runs (95 % interval +- 64.81 points)" in said
    assert "configuration  the only one: data=digits model.filters=4" in said
    assert not re.search(r"^best", said, re.M)
    assert [row.split()[-1] for row in said.splitlines() if " complete " in row] == [
        "seed=1",
        "seed=2",
        "seed=3",
    ]
    console = Console(width=120)
    with console.capture() as live:
        console.print(Display(study, 1, 1, tracks=True)._drawn([]))
    assert re.search(
        r"^so far +60\.00 %, the median of 3 runs .* digits filters=4 *$", live.get(), re.M
    )
    assert "best" not in live.get()


def test_a_configuration_without_settings_is_the_defaults(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    request, _ = read(["seed=1,2"])
    said = said_of(trained(request, {None: (0.5, 0.6)}), caplog, capfd)
    assert re.search(r"^2 +55\.00 \+- .* +the defaults *$", said, re.M)
    assert "configuration  the only one: the defaults" in said
    assert "55.00 %, the median of 2 runs" in said


def test_the_winner_has_the_best_median_not_the_best_seed(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "s"
    folder.mkdir(parents=True)
    request, _ = read([*WORDS, "model.filters=4,8", "seed=1,2,3", "sweep.name=s"])
    trained(
        request,
        {4: (0.90, 0.91, 0.92), 8: (0.70, 0.71, 0.99)},
        open_storage(f"sqlite:///{folder}/study.db"),
    )
    assert find_winner("s", None, tmp_path).varied == ("model.filters=4",)


@pytest.mark.parametrize("metric", ["val/acc", TESTED])
def test_a_single_configuration_has_a_name_and_nothing_to_choose(
    cli: Cli, tmp_path: Path, metric: str
) -> None:
    """A single configuration with several seeds has a name, and there is nothing to choose.

    With another one beside it, the test's metric would be a choice.
    """
    store = Store(tmp_path)
    for model, seeds in (("mlp", 3), ("cnn", 1)):
        for seed in range(seeds):
            words = f"data=digits model={model} optimizer.lr=1e-3 seed={seed} outputs='a b'"
            params = {"data": "digits", "model": model, "optimizer.lr": 0.001, "seed": seed}
            tags = {"command": f"python src/train.py {words}"}
            store.run(
                f"{model} {seed}",
                params,
                (0.8 + seed / 100,),
                tags=tags,
                metrics={TESTED: 0.8 + seed / 100},
            )
    named = "data=digits model=mlp optimizer.lr=0.001"
    only = cli(
        "compare.py", "runs=params.model = 'mlp'", f"metric={metric}", "report=false", *store.words
    )
    assert only.code == 0, only.err
    assert re.search(r"^1 +3 .* digits +mlp +0\.001 *$", only.out, re.M)
    assert (
        f"- The only configuration compared: {named} with {metric} 81.00 %, the median of 3 runs"
        in only.out
    )
    assert "! " not in only.out
    both = cli("compare.py", f"metric={metric}", "report=false", *store.words)
    assert ("not meant for choosing" in both.out) == (metric == TESTED)


def test_a_sweep_over_seeds_is_named_by_its_settings(cli: Cli, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, settings in (("given", ["model.filters=4", "data=digits"]), ("plain", [])):
        parent = store.sweep(name, {"seed": "1,2"}, settings)
        for seed in (1, 2):
            store.trial(
                name,
                parent,
                seed,
                {"data": "digits", "model.filters": 4, "seed": seed},
                (0.8 + seed / 100,),
            )
        found = cli("compare.py", f"sweep={name}", *store.words)
        expected = "data=digits model.filters=4" if settings else "the defaults"
        said = f"{expected} with val/acc 81.50 %, the median of 2 runs"
        assert f"The only configuration compared: {said}" in found.out
        assert expected in (tmp_path / "out" / "reports" / name / "report.html").read_text()


def test_one_of_a_thing_is_no_plural(
    cli: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    request, _ = read([*WORDS, "seed=range(1,2)"])
    said = said_of(trained(request, {None: (0.1,)}), caplog, capfd)
    assert ": 1 trial, 1 worker, 1 thread per worker" in said
    assert "resuming: 1 trial already done" in said
    assert "1 of 1 run (100 %) did not learn" in said
    assert "from one run" in said
    store = Store(tmp_path)
    store.run("one", {"data": "digits", "seed": 1}, (0.5,))
    found = cli("compare.py", *store.words)
    assert "1 runs" not in found.out
    assert "1 of 1 run " in (tmp_path / "out" / "reports" / "tunebook" / "report.html").read_text()
    dry = cli(
        "train.py", "-m", "data=digits", "seed=range(1,2)", "sweep.dry_run=true", *store.words
    )
    assert re.search(r"^1 trial; no estimate: the store has no finished run", dry.out, re.M), (
        dry.out + dry.err
    )
