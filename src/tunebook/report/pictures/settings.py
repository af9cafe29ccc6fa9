"""Pictures of settings: one at a time, two at a time, all together."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunebook.report.effects import Effect
from tunebook.report.findings import Findings
from tunebook.report.levels import coordinate, is_listed, levels, number, scale
from tunebook.report.pictures.style import (
    BLUE,
    GREY,
    MANY,
    MOST_LINES,
    ORANGE,
    RED,
    WIDTH,
    Picture,
    axes_of,
    leave_out_the_tail,
    short,
    shown,
)
from tunebook.report.results import Results, Setting


def of_setting(results: Results, findings: Findings, effect: Effect, place: int) -> Picture:
    """Every run's value by one setting."""
    factor, label = shown(results.objective)
    setting, runs, values = effect.setting, findings.compared.runs, findings.compared.values
    rows = [run.values for run in runs]
    figure, axes = axes_of(2.7)
    ends = scale(setting, rows)
    having = [member for member, row in enumerate(rows) if setting.name in row]
    ys = np.array([factor * values[member] for member in having])
    if ends is None or is_listed(setting):
        found = [level for level in levels(setting, rows) if level.members]
        for x, level in enumerate(found):
            of_level = np.array([factor * values[member] for member in level.members])
            spread = x + np.linspace(-0.18, 0.18, len(of_level)) if len(of_level) > 1 else np.array([float(x)])
            axes.plot(spread, of_level, "o", color=BLUE, alpha=0.45, markersize=4, rasterized=len(ys) > MANY)
            axes.plot([x - 0.3, x + 0.3], [np.median(of_level)] * 2, color=RED, lw=2.2)
        axes.set_xticks(range(len(found)), [f"{level.text}\n(n = {len(level.members)})" for level in found])
        axes.set_xlim(-0.6, len(found) - 0.4)
    else:
        xs = np.array([number(rows[member][setting.name]) or 0.0 for member in having])
        axes.plot(xs, ys, "o", color=BLUE, alpha=0.45, markersize=4, rasterized=len(ys) > MANY)
        _envelope(axes, xs, ys, ends, results.direction)
        if ends[2]:
            axes.set_xscale("log")
    if findings.noise is not None and len(ys):
        best, sd = (max(ys) if results.direction == "max" else min(ys)), factor * findings.noise.sd
        axes.axhspan(best - 2 * sd, best + 2 * sd, color=GREY, alpha=0.18, lw=0)
    leave_out_the_tail(axes, ys, results.direction)
    axes.set_xlabel(short(setting.name))
    axes.set_ylabel(label + (f" at epoch {findings.compared.epoch}" if findings.compared.epoch else ""))
    says = "matters" if effect.matters else "cannot be told from chance" if effect.p is not None else "not tested"
    p = "" if effect.p is None else f", adjusted p = {effect.p:.2g}" if effect.p >= 1e-4 else ", adjusted p < 0.0001"
    kind = "Red: medians." if ends is None or is_listed(setting) else "Red: the best so far along the range, in tenths."
    return Picture(f"setting-{place + 1:02d}", short(setting.name), f"{says.capitalize()}{p}. {kind}", figure)


def _envelope(axes: Axes, xs: Any, ys: Any, ends: tuple[float, float, bool], direction: str) -> None:
    """The best value in each tenth of the range."""
    places = np.array([min(9, max(0, int(10 * coordinate(x, *ends)))) for x in xs])
    best = max if direction == "max" else min
    points = [(float(np.median(xs[places == tenth])), best(ys[places == tenth])) for tenth in range(10) if (places == tenth).any()]
    axes.plot([x for x, _ in points], [y for _, y in points], color=RED, lw=1.6, drawstyle="steps-mid")


def of_pairs(results: Results, findings: Findings, tested: Sequence[Effect]) -> Picture:
    """A heat map for each of the top pairs: those that interact, else of the two strongest settings."""
    factor, label = shown(results.objective)
    pairs = [(one.first, one.second) for one in findings.interactions[:3]] or [(tested[0].setting, tested[1].setting)]
    figure = Figure(figsize=(WIDTH, 2.9 if len(pairs) > 1 else 3.2), layout="constrained")
    rows = [run.values for run in findings.compared.runs]
    for place, (first, second) in enumerate(pairs):
        axes = figure.add_subplot(1, len(pairs), place + 1)
        across, down = (list(levels(one, rows)) for one in (first, second))
        cells = [[sorted(set(a.members) & set(b.members)) for a in across] for b in down]
        medians = [[_median(findings, factor, cell) for cell in row] for row in cells]
        image = axes.imshow(np.ma.masked_invalid(medians), cmap="cividis", aspect="auto")
        low, high = image.get_clim()
        for y, row in enumerate(medians):
            for x, value in enumerate(row):
                dark = not math.isnan(value) and (value - (low or 0)) < 0.55 * ((high or 0) - (low or 0))
                text = "-" if math.isnan(value) else f"{value:.4g}\n(n = {len(cells[y][x])})"
                colour = GREY if math.isnan(value) else "white" if dark else "black"
                axes.text(x, y, text, ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(across)), [level.text for level in across], fontsize=8, rotation=20 if len(pairs) > 1 else 0)
        axes.set_yticks(range(len(down)), [level.text for level in down], fontsize=8)
        axes.set(xlabel=short(first.name), ylabel=short(second.name))
        axes.grid(False)
    found = "These pairs interact" if findings.interactions else "No pair is known to interact; these two settings are the strongest"
    return Picture("interactions", "Two settings at a time", f"Median of {label} in each cell. {found}.", figure)


def _median(findings: Findings, factor: float, cell: Sequence[int]) -> float:
    return factor * float(np.median([findings.compared.values[member] for member in cell])) if cell else math.nan


def parallel(results: Results, findings: Findings, tested: Sequence[Effect]) -> Picture:
    """A line a run across all settings, coloured by the objective's rank."""
    settings = [effect.setting for effect in tested][:8]
    runs, values = findings.compared.runs, np.array(findings.compared.values)
    rows = [run.values for run in runs]
    ranks = values.argsort().argsort() / max(1, len(values) - 1)
    ranks = ranks if results.direction == "max" else 1 - ranks
    figure, axes = axes_of(3.4)
    colours = mpl.colormaps["cividis"]
    kept = np.argsort(ranks)[-MOST_LINES:]  # the best last, on top
    heights = np.array([_heights(setting, rows) for setting in settings]).T
    for member in kept:
        is_top = ranks[member] > 0.9
        axes.plot(range(len(settings)), heights[member], color=ORANGE if is_top else colours(ranks[member] * 0.8),
                  alpha=0.95 if is_top else 0.3, lw=1.8 if is_top else 0.9, rasterized=len(kept) > MANY)  # fmt: skip
    for x, setting in enumerate(settings):
        ends = scale(setting, rows)
        axes.axvline(x, color=GREY, lw=1)
        texts = [level.text for level in levels(setting, rows)]
        if ends is not None:
            texts = [f"{ends[0]:.3g}", f"{ends[1]:.3g}"]
        for y, text in zip(np.linspace(0, 1, len(texts)) if len(texts) > 1 else [0.5], texts, strict=True):
            axes.text(x + 0.04, y, text, fontsize=7, va="center", ha="left", bbox={"fc": "white", "ec": "none", "alpha": 0.0, "pad": 0.5})
    axes.set_xticks(range(len(settings)), [short(setting.name).replace(" (", "\n(") for setting in settings], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(settings) - 0.55)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    caption = "A line a run; orange and thick: the best tenth. Lines break where a setting does not apply."
    return Picture("parallel", "All settings of all runs", caption, figure)


def _heights(setting: Setting, rows: Sequence[Any]) -> list[float]:
    """0 to 1 on the setting's axis; NaN where it does not apply."""
    ends = scale(setting, rows)
    if ends is not None:
        return [coordinate(number(row[setting.name]) or 0.0, *ends) if setting.name in row else math.nan for row in rows]
    found = levels(setting, rows)
    places = {member: level.place / max(1, len(found) - 1) if len(found) > 1 else 0.5 for level in found for member in level.members}
    return [places.get(member, math.nan) for member in range(len(rows))]
