"""The report's pictures have the right sizes, limits and colours, and run no code in names."""

import colorsys
import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from tests.helpers.studies import ALL, LR, study
from tunebook.analysis.findings import findings
from tunebook.analysis.results import Results, Run, Setting
from tunebook.report import page
from tunebook.report.pictures import Picture, pictures, style
from tunebook.report.pictures.axes import log_ticks, plain
from tunebook.report.read import ComparedRuns

HOSTILE = "</svg><script>alert(1)</script>\" onload='x' --> ]]> $\\frac{$ \x1b[31m"


def results(
    objective: str = "val/acc", settings: Any = ALL, low: float = 0.0, high: float = 1.0
) -> Results:
    rng = np.random.default_rng(0)
    found = study(settings, lambda values: 0.5, noise=0.2, rng=rng, configurations=40)
    runs = [
        dataclasses.replace(
            run,
            objective=float(np.clip(run.objective or 0.0, low, high)),
            seconds=6 + i / 20,
            curve=((1, 0.0), (2, 1.0)),
        )
        for i, run in enumerate(found.runs)
    ]
    return dataclasses.replace(found, objective=objective, runs=tuple(runs))


def drawn(found: Results) -> list[Picture]:
    return list(pictures(found, findings(found)))


@pytest.mark.slow
def test_no_text_is_small_and_no_axis_leaves_the_accuracies() -> None:
    for picture in drawn(results()):
        svg = picture.svg()
        assert all(
            text.get_fontsize() >= 9 for text in picture.figure.findobj(Text) if text.get_text()
        ), picture.name
        assert f'class="{"wide" if picture.is_wide else "narrow"}"' in svg
        for axes in picture.figure.axes:
            for label, (low, high) in (
                (axes.get_xlabel(), axes.get_xlim()),
                (axes.get_ylabel(), axes.get_ylim()),
            ):
                if label.startswith("val/acc"):
                    assert low >= 0, picture.name
                    assert high <= 100, picture.name


def test_a_time_is_a_plain_number() -> None:
    (picture,) = [one for one in drawn(results(settings=(LR,))) if one.name == "time"]
    picture.svg()
    texts = [label.get_text() for label in picture.figure.axes[0].get_xticklabels()]
    assert len(texts) > 1
    assert all(re.fullmatch(r"[\d.]+", text) for text in texts), texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (6.0, "6"),
        (0.0001, "0.0001"),
        (20000.0, "20,000"),
        (0.5, "0.5"),
        (7.25, "7.25"),
        (1e-9, "1e-09"),
    ],
)
def test_plain_numbers(value: float, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("low", "high"), [(6.1, 6.4), (1e-5, 1e-1), (1e-30, 1e30), (0.3, 40), (1, 2)]
)
def test_a_logarithmic_axis_has_a_few_ticks(low: float, high: float) -> None:
    assert 2 <= len(log_ticks(low, high)) <= 7
    assert all(low <= tick <= high for tick in log_ticks(low, high))


def luminance(colour: str) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in to_rgb(colour)
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("paper", ["#ffffff", "#16181c"])
@pytest.mark.parametrize("name", ["BLUE", "ORANGE", "GREEN", "RED", "SKY", "GREY"])
def test_every_colour_is_seen_in_light_and_in_dark(name: str, paper: str) -> None:
    lighter, darker = sorted((luminance(getattr(style, name)), luminance(paper)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("RED", 345, 365), ("ORANGE", 25, 45), ("BLUE", 190, 250), ("GREEN", 120, 170)],
)
def test_a_colour_has_the_hue_of_its_name(name: str, low: float, high: float) -> None:
    hue = 360 * colorsys.rgb_to_hsv(*to_rgb(getattr(style, name)))[0]
    assert low <= (hue + 360 if hue < 20 else hue) <= high


@pytest.mark.slow
def test_names_are_no_code_in_pictures_and_page() -> None:
    settings = (
        Setting(HOSTILE, False, (HOSTILE, "x" * 500)),
        Setting(f"{HOSTILE} lr", True, (), 1e-5, 1e-1, True),
    )
    runs = [
        Run(
            f"r{i}",
            HOSTILE,
            {HOSTILE: settings[0].values[i % 2], settings[1].name: 10 ** -(1.5 + i / 20)},
            i,
            "complete",
            i / 60,
        )
        for i in range(40)
    ]
    found = Results(
        HOSTILE,
        f"val/{HOSTILE}_acc",
        "max",
        settings,
        (*runs, dataclasses.replace(runs[0], state="failed", error=HOSTILE)),
    )
    made = drawn(found)
    assert len(made) > 4
    for picture in made:
        svg = ElementTree.fromstring(picture.svg())
        assert svg.get("onload") is None
        assert svg.get("aria-label") == picture.title
    text = page.page(ComparedRuns(found, (), "", {}, {}, "stem"), findings(found), made)
    assert "<script" not in text
    assert text.count("<svg") == text.count("</svg>") == len(made)


def test_print_keeps_headings_with_what_follows() -> None:
    found = results(settings=(LR,))
    text = page.page(ComparedRuns(found, (), "", {}, {}, "stem"), findings(found), [])
    (rule,) = re.findall(r"@media print \{.*", text)
    assert "h1, h2 { break-after: avoid; }" in rule
    assert text.index("prefers-color-scheme: dark") < text.index("@media print")
    assert "<thead>" in text
    assert mpl.rcParams["text.parse_math"]  # the style applies to this report only


@pytest.mark.parametrize(
    "values", [(0.1, 1e30, 0.2, 3.0, 1e30), (0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 1e30)]
)
def test_a_huge_loss_does_not_press_the_leaderboard_into_a_line(values: tuple[float, ...]) -> None:
    runs = tuple(
        Run(f"r{i}", f"r{i}", {"lr": 0.001 * (i + 1)}, 1, "complete", value)
        for i, value in enumerate(values)
    )
    (picture,) = [
        one
        for one in drawn(Results("s", "val/loss", "min", (LR,), runs))
        if one.name == "leaderboard"
    ]
    axes = picture.figure.axes[0]
    assert axes.get_xscale() == "log" or axes.get_xlim()[1] < 10


def test_a_name_does_not_turn_the_text_after_it() -> None:
    found = dataclasses.replace(results(settings=(LR,)), name="a\u202eb")
    assert "a\\u202eb" in page.page(
        ComparedRuns(found, (), "", {}, {}, "stem"), findings(found), []
    )
