"""Draw pictures of runs: the leaderboard, learning curves and the history of all runs.

The importance of each setting is drawn here as well.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tunebook.analysis.findings import Findings
from tunebook.analysis.importance import SOURCE
from tunebook.analysis.leaderboard import Configuration, objectives
from tunebook.analysis.results import Results, Run, repeated_over
from tunebook.analysis.sampling import FAILED
from tunebook.analysis.sentences import DEFAULTS
from tunebook.report.pictures.axes import keep_in_bounds, log_scale
from tunebook.report.pictures.style import (
    BLUE,
    FULL_WIDTH,
    GREEN,
    GREY,
    INK,
    MANY,
    MAX_CONFIGURATIONS,
    MAX_CURVES,
    MAX_LINES,
    MAX_UPRIGHT,
    RED,
    SHOWN,
    SKY,
    SMALLEST,
    Picture,
    are_far_apart,
    axes_of,
    band_of_noise,
    clip_outliers,
    edge,
    in_the_tail,
    legend_below,
    named,
    on_two_lines,
    short,
    shown,
)
from tunebook.text_output import clipped, counted


def leaderboard(results: Results, findings: Findings) -> Picture:
    """Draw the best configurations, with the noise between seeds or folds around the first."""
    factor, label = shown(results.objective)
    ranked = [configuration for configuration in findings.leaderboard if configuration.n][
        :MAX_CONFIGURATIONS
    ]
    figure, axes = axes_of(0.9 + 0.3 * len(ranked), FULL_WIDTH)
    for place, one in enumerate(ranked):
        _draw_configuration(axes, place, one, factor)
    if findings.noise is not None:
        best, sd = ranked[0].median, findings.noise.sd
        band_of_noise(axes, "x", factor * best, factor * sd)
    first = [effect.setting.name for effect in findings.effects]
    axes.set_yticks(range(len(ranked)), [named(one.values, first) or DEFAULTS for one in ranked])
    axes.set_ylim(len(ranked) - 0.4, -0.6)
    _limit_leaderboard(
        axes,
        np.array([factor * value for one in ranked for value in objectives(one.ranked)]),
        results,
    )
    axes.set_xlabel(label)
    repeats = repeated_over(results.runs)
    band = f" Grey: twice the noise between {repeats}, around the best." if findings.noise else ""
    caption = f"Diamonds: medians, with 95 % intervals for several {repeats}. Dots: runs.{band}"
    return Picture("leaderboard", "Leaderboard", caption, figure, is_wide=True)


def _draw_configuration(axes: Axes, place: int, one: Configuration, factor: float) -> None:
    """Draw one line of the leaderboard: dots for runs, and the median with its interval."""
    axes.plot(
        [factor * value for value in objectives(one.ranked)],
        [place] * one.n,
        "o",
        color=SKY,
        markersize=4,
        zorder=2,
    )
    if one.n > 1:
        axes.errorbar(
            factor * one.median,
            place,
            xerr=factor * one.half_width,
            fmt="D",
            color=BLUE,
            markersize=6,
            capsize=3,
            zorder=3,
        )
    else:
        axes.plot(factor * one.median, place, "D", color=BLUE, markersize=6, zorder=3)


def _limit_leaderboard(axes: Axes, values: Any, results: Results) -> None:
    """Limit the x axis to the runs, without the full width of wide intervals.

    It is logarithmic if values are positive and far apart.
    """
    left_out = in_the_tail(values, results.direction)
    kept = values[~left_out]
    low, high = axes.get_xlim()
    if are_far_apart(kept):
        axes.set_xlim(kept.min() / 2, 2 * kept.max())
        log_scale(axes, "x")
    elif np.ptp(kept) > 1e-9 * np.abs(kept).max():
        # Otherwise, the interval of two runs could compress all others into a line.
        reach = 1.5 * float(np.ptp(kept))
        axes.set_xlim(max(low, kept.min() - reach), min(high, kept.max() + reach))
    if left_out.any():
        side = "left" if results.direction == "max" else "right"
        axes.set_title(
            f"{counted(int(left_out.sum()), 'more run')} further {side}",
            loc="right",
            fontsize=SMALLEST,
        )
    keep_in_bounds(axes, "x", results.objective)


def importance(findings: Findings) -> Picture:
    """Draw the share of each setting, with its interval."""
    matters = {one.setting.name for one in findings.effects if one.matters}
    matters |= {one.name for one in findings.joint if one.matters}
    found = findings.importances[:MAX_CONFIGURATIONS]
    figure, axes = axes_of(0.8 + 0.32 * len(found))
    for place, one in enumerate(found):
        is_sure = one.setting.name in matters
        axes.barh(
            place,
            100 * one.share,
            color=BLUE if is_sure else "none",
            edgecolor=BLUE,
            hatch=None if is_sure else "///",
            height=0.62,
        )
        axes.plot(
            [100 * one.low, 100 * one.high],
            [place, place],
            color=INK,
            lw=1.4,
            marker="|",
            markersize=7,
        )
    axes.set_yticks(range(len(found)), [clipped(short(one.setting.name)) for one in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, min(100.0, max(100 * one.high for one in found) * 1.05 or 100.0))
    axes.set_xlabel("share of what settings explain, %")
    caption = (
        f"{SOURCE[0].upper()}{SOURCE[1:]}, with 95 % intervals. "
        "Filled: matters (F test, Holm, 5 %); hatched: may be chance."
    )
    return Picture("importance", "Importance of each setting", caption, figure)


def curves(results: Results) -> Picture:
    """Draw the objective by epoch: the best runs, those that failed, and the others behind them."""
    factor, label = shown(results.objective)
    sign = 1 if results.direction == "max" else -1
    complete = [
        run
        for run in results.runs
        if run.curve and run.objective is not None and run.state == "complete"
    ]
    ranked = sorted(complete, key=lambda run: -sign * (run.objective or 0.0))
    top, failed = (
        ranked[:MAX_CURVES],
        [run for run in results.runs if run.state in FAILED and run.curve][:MAX_CURVES],
    )
    others = [run for run in results.runs if run.curve and run not in top and run not in failed][
        :MAX_LINES
    ]
    figure, axes = axes_of(3.4)
    _draw_curves(axes, factor, top, failed, others)
    legend_below(figure)
    if top:  # otherwise, extreme values of other runs could compress these into a line
        ys = np.array([factor * value for run in top for _, value in run.curve])
        below, above = (0.6, 0.08) if results.direction == "max" else (0.08, 0.6)
        axes.set_ylim(
            ys.min() - below * (np.ptp(ys) or 1e-6), ys.max() + above * (np.ptp(ys) or 1e-6)
        )
    keep_in_bounds(axes, "y", results.objective)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=on_two_lines(label, MAX_UPRIGHT))
    return Picture(
        "curves",
        "Learning curves",
        "Blue: the best complete runs; red, dashed: those that failed; grey: others.",
        figure,
    )


def _draw_curves(
    axes: Axes, factor: float, top: Sequence[Run], failed: Sequence[Run], others: Sequence[Run]
) -> None:
    """Draw the learning curves of three groups of runs, and label each group."""
    for run in others:
        axes.plot(*_points(run, factor), color=GREY, lw=0.8, rasterized=len(others) > MANY)
    for run in failed:
        axes.plot(*_points(run, factor), color=RED, lw=1.4, ls="--", marker="x", markersize=4)
    for run in top:
        axes.plot(*_points(run, factor), color=BLUE, lw=1.6, marker="o", markersize=2.5)
    for name, colour, style, chosen in (
        ("best", BLUE, "-", top),
        ("failed", RED, "--", failed),
        ("others", GREY, "-", others),
    ):
        if chosen:
            axes.plot([], [], color=colour, ls=style, label=f"{name} ({len(chosen)})")


def _points(run: Run, factor: float) -> tuple[list[int], list[float]]:
    return [epoch for epoch, _ in run.curve], [factor * value for _, value in run.curve]


def draw_state(axes: Axes, points: Sequence[tuple[float, float]], state: str, label: str) -> None:
    """Draw the runs of one state, each as a marker at (x, y)."""
    colour, marker = SHOWN[state]
    axes.plot(
        *zip(*points, strict=True),
        marker,
        color=colour,
        markersize=5,
        ls="",
        label=label,
        markeredgecolor=edge(colour, marker, len(points)),
        markeredgewidth=0.6 if marker != "x" else 1.4,
        rasterized=len(points) > MANY,
    )


def kind_of(run: Run) -> str:
    """Return the state by which a run is drawn: "failed" for each kind of failure."""
    return "failed" if run.state in FAILED else run.state


def history(results: Results) -> Picture:
    """Draw all runs in the order of their start, with their states, and the best so far."""
    factor, label = shown(results.objective)
    figure, axes = axes_of(3.1)
    known = [factor * run.objective for run in results.runs if run.objective is not None]
    floor = (min(known) if results.direction == "max" else max(known)) if known else 0.0
    for state in SHOWN:
        of_state = [(place, run) for place, run in enumerate(results.runs) if kind_of(run) == state]
        found = [
            (place, floor if run.objective is None else factor * run.objective)
            for place, run in of_state
        ]
        if found:
            draw_state(axes, found, state, f"{state} ({len(found)})")
    best = max if results.direction == "max" else min
    so_far: list[tuple[int, float]] = []
    for place, run in enumerate(results.runs):
        if run.objective is not None and run.state == "complete":
            so_far.append((place, best([factor * run.objective, *[y for _, y in so_far[-1:]]])))
    if so_far:
        axes.plot(
            *zip(*so_far, strict=True),
            color=GREEN,
            lw=1.6,
            drawstyle="steps-post",
            label="best so far",
        )
    axes.set(xlabel="runs, in the order of their start", ylabel=on_two_lines(label, MAX_UPRIGHT))
    clip_outliers(axes, np.array(known), results.direction)
    keep_in_bounds(axes, "y", results.objective)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure)
    return Picture(
        "history",
        "Complete, pruned and failed runs",
        "Every run, and the best complete run so far.",
        figure,
    )
