"""Draw the objective against time, with the configurations that are the best for their time."""

import numpy as np

from tunebook.analysis.cost import front
from tunebook.analysis.findings import Findings
from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.results import Results
from tunebook.metrics.facts import facts_of
from tunebook.report.pictures.axes import log_scale, time_unit
from tunebook.report.pictures.runs import draw_state
from tunebook.report.pictures.style import (
    MAX_UPRIGHT,
    RED,
    SMALLEST,
    Picture,
    axes_of,
    in_the_tail,
    legend_below,
    named,
    on_two_lines,
    scale_of_objective,
    shown,
)

MAX_NAMED = 3  # configurations of the front that are named in the caption


def can_be_drawn(findings: Findings) -> bool:
    """Return whether the durations of at least two configurations are known."""
    return len(_timed(findings)) > 1


def _timed(findings: Findings) -> list[Configuration]:
    return [one for one in findings.leaderboard if one.n and one.seconds > 0]


def against_time(results: Results, findings: Findings) -> Picture:
    """Draw the median objective of each configuration against its mean duration.

    Only complete runs count: the duration of a pruned run says how early it was pruned.
    """
    factor, label = shown(results.objective)
    timed, best = _timed(findings), front(findings.leaderboard, results.direction)
    unit, length = time_unit([one.seconds for one in timed])
    figure, axes = axes_of(3.1)
    draw_state(
        axes,
        [(one.seconds / length, factor * one.median) for one in timed],
        "complete",
        f"configurations ({len(timed)})",
    )
    xs, ys = [one.seconds / length for one in best], [factor * one.median for one in best]
    if best:
        axes.plot(xs, ys, color=RED, lw=1.6, drawstyle="steps-post", marker="o", markersize=6,
                  mfc="none", label="none is better and faster")  # fmt: skip
    for number, (x, y) in enumerate(zip(xs, ys, strict=True), 1):
        axes.annotate(str(number), (x, y), xytext=(-3, 4), textcoords="offset points", ha="right",
                      fontsize=SMALLEST, color=RED)  # fmt: skip
    axes.set(xlabel=f"mean duration of a run, {unit}", ylabel=on_two_lines(label, MAX_UPRIGHT))
    log_scale(axes, "x")
    ys_of_all = np.array([factor * one.median for one in timed])
    lost = np.array([one.mostly_fails for one in timed]) & (not all(o.mostly_fails for o in timed))
    lost[~lost] = in_the_tail(ys_of_all[~lost], results.direction)
    scale_of_objective(axes, results, ys_of_all[~lost])
    if lost.any():
        where = "below" if results.direction == "max" else "above"
        axes.set_title(f"{lost.sum()} more {where}", loc="right", fontsize=SMALLEST)
    legend_below(figure)
    first = [effect.setting.name for effect in findings.effects]
    names = "; ".join(
        f"{number}: {named(one.values, first)}" for number, one in enumerate(best[:MAX_NAMED], 1)
    )
    more = f"; and {len(best) - MAX_NAMED} more" if len(best) > MAX_NAMED else ""
    name = facts_of(results.objective).title or "objective"
    title = f"{name[:1].upper()}{name[1:]} against time"
    caption = f"Red: configurations than which none is both better and faster. {names}{more}."
    return Picture("time", title, caption, figure)
