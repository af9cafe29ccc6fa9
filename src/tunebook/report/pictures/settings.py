"""Draw pictures of settings: two at a time, and all together."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunebook.analysis.effects import Effect
from tunebook.analysis.findings import Findings
from tunebook.analysis.levels import Level, coordinate, is_listed, levels, number, scale
from tunebook.analysis.results import Results, Setting
from tunebook.report.pictures.style import (
    FULL_WIDTH,
    GREY,
    INK,
    MANY,
    MAX_LINES,
    MAX_UPRIGHT,
    ORANGE,
    PAPER,
    SMALLEST,
    WIDTH,
    Picture,
    axes_of,
    ink_on,
    on_two_lines,
    short,
    shown,
)
from tunebook.text_output import clipped

MAX_AXES = 9


def of_pairs(results: Results, findings: Findings, tested: Sequence[Effect]) -> Picture:
    """Draw a heat map for each of the most important pairs of settings.

    These are the first three pairs that interact, or else the two strongest settings.
    """
    factor, label = shown(results.objective)
    rows = [run.values for run in findings.compared.runs]
    pairs = [(one.first, one.second) for one in findings.interactions[:3]] or [
        _strongest_pair(tested, rows)
    ]
    figure = Figure(figsize=(FULL_WIDTH if len(pairs) > 1 else WIDTH, 3.2), layout="constrained")
    for place, (first, second) in enumerate(pairs):
        axes = figure.add_subplot(1, len(pairs), place + 1)
        across, down = (list(levels(one, rows)) for one in (first, second))
        _draw_cells(axes, findings, factor, across, down)
        axes.set_xticks(
            range(len(across)),
            [
                on_two_lines(level.text, max(6, (32 if len(pairs) > 2 else 48) // len(across)))
                for level in across
            ],
        )
        axes.set_yticks(range(len(down)), [on_two_lines(level.text, 16) for level in down])
        axes.set(xlabel=short(first.name), ylabel=on_two_lines(short(second.name), MAX_UPRIGHT))
        axes.grid(False)
    found = (
        "These pairs interact"
        if findings.interactions
        else "No interaction was found; these two settings have the largest effects"
    )
    return Picture(
        "interactions",
        "Two settings at a time",
        f"Median of {label} in each cell. {found}.",
        figure,
        len(pairs) > 1,
    )


def _draw_cells(
    axes: Axes, findings: Findings, factor: float, across: Sequence[Level], down: Sequence[Level]
) -> None:
    """Draw a heat map of medians, with a column and a row for each level of two settings."""
    cells = [[sorted(set(a.members) & set(b.members)) for a in across] for b in down]
    medians = [[_median(findings, factor, cell) for cell in row] for row in cells]
    image = axes.imshow(np.ma.masked_invalid(medians), cmap="cividis", aspect="auto")
    for y, row in enumerate(medians):
        for x, value in enumerate(row):
            text = "-" if math.isnan(value) else f"{value:.4g}\n(n = {len(cells[y][x])})"
            colour = INK if math.isnan(value) else ink_on(image.to_rgba(np.array([value]))[0])
            axes.text(x, y, text, ha="center", va="center", fontsize=SMALLEST, color=colour)


def _strongest_pair(tested: Sequence[Effect], rows: Sequence[Any]) -> tuple[Setting, Setting]:
    """Return the pair of settings that apply to the same runs most often.

    The pair is chosen among the four strongest settings; of equal pairs, it is the first.
    """
    pairs = list(itertools.combinations([effect.setting for effect in tested[:4]], 2))
    return max(
        pairs, key=lambda pair: sum(pair[0].name in row and pair[1].name in row for row in rows)
    )


def _median(findings: Findings, factor: float, cell: Sequence[int]) -> float:
    return (
        factor * float(np.median([findings.compared.values[member] for member in cell]))
        if cell
        else math.nan
    )


def parallel(results: Results, findings: Findings, tested: Sequence[Effect]) -> Picture:
    """Draw a line for each run across all settings, the strongest setting first.

    Ranges of the same key that depend on an option share an axis.
    """
    keys = list(dict.fromkeys(effect.setting.name.partition(" (")[0] for effect in tested))[
        :MAX_AXES
    ]
    grouped = [
        [effect.setting for effect in tested if effect.setting.name.partition(" (")[0] == key]
        for key in keys
    ]
    values = np.array(findings.compared.values)
    rows = [run.values for run in findings.compared.runs]
    ranks = values.argsort().argsort() / max(1, len(values) - 1)
    ranks = ranks if results.direction == "max" else 1 - ranks
    figure, axes = axes_of(3.8, FULL_WIDTH)
    kept = np.argsort(ranks)[-MAX_LINES:]  # the best last, on top
    # Without some jitter, the lines of runs with equal values would coincide.
    apart = np.random.default_rng(0).uniform(-0.02, 0.02, (len(rows), len(keys)))
    heights = np.array([_heights(settings, rows) for settings in grouped]).T + apart
    for member in kept:
        is_top = ranks[member] > 0.9
        axes.plot(range(len(keys)), heights[member], color=ORANGE if is_top else GREY,
                  lw=1.8 if is_top else 0.8, rasterized=len(kept) > MANY)  # fmt: skip
    for x, settings in enumerate(grouped):
        _draw_axis(axes, x, _marks(settings, rows))
    axes.set_xticks(range(len(keys)), [clipped(key.rpartition(".")[2], 15) for key in keys])
    axes.set_yticks([])
    axes.set_xlim(-0.3, len(keys) - 0.7)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    at = f" at epoch {findings.compared.epoch}" if findings.compared.epoch else ""
    caption = (
        f"One line per run; thick orange lines: the best tenth{at}. "
        "Each range fills its axis, even if it depends on another setting."
    )
    return Picture("parallel", "All settings of all runs", caption, figure, is_wide=True)


def _draw_axis(axes: Axes, x: int, marks: Sequence[tuple[float, str]]) -> None:
    """Draw the vertical axis of one key, with its labels (height, text)."""
    axes.axvline(x, color=GREY, lw=1)
    for y, text in marks:
        axes.text(
            x,
            y,
            clipped(text, 13),
            fontsize=SMALLEST,
            va="center",
            ha="center",
            bbox={"fc": PAPER, "ec": "none", "pad": 1.2},
        )


def _heights(settings: Sequence[Setting], rows: Sequence[Any]) -> list[float]:
    """Return the position of each run on the axis of these settings, 0 to 1.

    At most one of the settings applies to a run. NaN if none does.
    """
    found = [math.nan] * len(rows)
    for setting in settings:
        ends, own_levels = scale(setting, rows), levels(setting, rows)
        for member, row in enumerate(rows):
            if ends is not None and setting.name in row:
                found[member] = coordinate(number(row[setting.name]) or 0.0, *ends)
        for level in own_levels if ends is None else ():
            for member in level.members:
                found[member] = level.place / (len(own_levels) - 1) if len(own_levels) > 1 else 0.5
    return found


def _marks(settings: Sequence[Setting], rows: Sequence[Any]) -> list[tuple[float, str]]:
    """Return (height, text) of the labels on an axis: listed values, or the ends of a range."""
    setting = settings[0]
    ends, own_levels = scale(setting, rows), levels(setting, rows)
    if len(settings) > 1:
        return [(0.0, "lowest"), (1.0, "highest")]
    if ends is None:
        return [
            (level.place / (len(own_levels) - 1) if len(own_levels) > 1 else 0.5, level.text)
            for level in own_levels
        ]
    if is_listed(setting):
        return [(coordinate(float(level.text), *ends), level.text) for level in own_levels]
    return [(0.0, f"{ends[0]:.3g}"), (1.0, f"{ends[1]:.3g}")]
