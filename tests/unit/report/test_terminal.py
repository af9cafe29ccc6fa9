"""The terminal shows the findings first, and a leaderboard that fits into its width."""

import dataclasses
import io
import re

import numpy as np
import pytest

from tests.helpers.studies import ALL, LR, place, study, with_tail
from tunebook.analysis.findings import Findings, findings
from tunebook.analysis.results import Results, Run, Setting
from tunebook.report import terminal
from tunebook.report.read import ComparedRuns
from tunebook.report.table import columns, short_headers


class Terminal(io.StringIO):
    """Collect what is printed into a terminal."""

    def isatty(self) -> bool:
        return True


def studied(seeds: int = 1) -> Results:
    rng = np.random.default_rng(0)
    return study(
        ALL, lambda values: 0.9 + 0.05 * place(LR, values["lr"]), noise=0.002, rng=rng, seeds=seeds
    )


def printed(results: Results, found: Findings, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    terminal.print_findings(compared(results), found, file)
    return re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())


def compared(results: Results) -> ComparedRuns:
    return ComparedRuns(results, (), "", {}, {}, "stem")


def table_of(text: str) -> list[str]:
    lines = text.splitlines()
    (head,) = [number for number, line in enumerate(lines) if re.match(r" +n  val/acc", line)]
    return lines[head : head + 11]


def test_findings_come_before_the_leaderboard_and_commands_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = studied()
    text = printed(results, findings(results), 120, monkeypatch)
    assert text.startswith("- Best: ")
    assert text.index("! Every configuration") < text.index("val/acc, median")
    assert text.index("... and 50 more in leaderboard.csv") < text.index("\nnext")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_settings_that_matter_least_are_left_out(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = studied()
    found = findings(results)
    text = printed(results, found, width, monkeypatch)
    table = table_of(text)
    assert max(map(len, table)) <= width
    order = [effect.setting.name.rpartition(".")[2] for effect in found.effects]
    assert order[0] == "lr"
    shown = [name for name in order if re.search(rf"\b{name}\b", table[0])]
    assert shown == order[: len(shown)]  # the strongest are kept
    if len(shown) < len(order):
        names = ", ".join(order[len(shown) :])
        noun = "setting" if len(order) - len(shown) == 1 else "settings"
        said = f"and {len(order) - len(shown)} more {noun}, which matter least: {names}"
        assert said in text
    assert ("more setting" in text) == (width < 200)
    best = found.leaderboard[0]
    for line in table[1:]:
        assert re.match(r" ?\d+  1 +\d\d\.\d\d %", line)
    if "lr" in shown:
        assert f"{best.values['lr']:.4g}" in table[1]


def test_figures_are_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    results = studied(seeds=3)
    lines = printed(results, findings(results), 20, monkeypatch).splitlines()
    assert any(re.match(r" 1  3 +\d\d\.\d\d % +\d\.\d\d +\d\.\d\d +10\.0 s$", x) for x in lines)


def test_settings_that_depend_on_an_option_share_a_column() -> None:
    names = ["optimizer.lr (optimizer=adam)", "optimizer.lr (optimizer=sgd)"]
    settings = (
        Setting("optimizer", False, ("adam", "sgd")),
        *(Setting(name, True, (), 1e-4, 1.0, True) for name in names),
        Setting("model.head.lr", True, (), 0.0, 1.0),
        Setting("model.depth", True, (), 0.0, 9.0),
    )
    runs = [
        Run(
            f"r{number}",
            "",
            {
                "optimizer": ("adam", "sgd")[number % 2],
                names[number % 2]: 10.0 ** (-number % 4 - 4),
                "model.head.lr": 0.123456,
                "model.depth": number,
            },
            1,
            "complete",
            0.9 - number / 1000,
        )
        for number in range(12)
    ]
    results = Results("study", "val/acc", "max", settings, tuple(runs))
    found = {column.header: column for column in columns(compared(results), findings(results))}
    assert set(found) == {"n", "val/acc, median", "optimizer", "optimizer.lr", "head.lr", "depth"}
    assert found["optimizer.lr"].cells[:2] == ("0.0001", "0.1")
    assert found["head.lr"].cells[0] == "0.1235"
    assert found["depth"].is_numeric
    assert not found["optimizer"].is_numeric


def test_the_shortest_header_that_is_unique() -> None:
    assert short_headers(["a.b.lr", "c.b.lr", "lr", "size"]) == {
        "a.b.lr": "a.b.lr",
        "c.b.lr": "c.b.lr",
        "lr": "lr",
        "size": "size",
    }


def test_runs_that_did_not_learn_are_a_column_only_if_there_are_any() -> None:
    results = studied(seeds=3)
    headers = [column.header for column in columns(compared(results), findings(results))]
    assert "did not learn" not in headers
    tail = dataclasses.replace(with_tail(results, 0.1, np.random.default_rng(1)), classes=10)
    (column,) = [
        column
        for column in columns(compared(tail), findings(tail))
        if column.header == "did not learn"
    ]
    lost = sum(run.objective == 0.1 for run in tail.runs)
    assert sum(int(cell.partition(" of ")[0]) for cell in column.cells if cell) == lost
