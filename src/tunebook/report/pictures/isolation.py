"""Draw isolation plots: the best value that can be achieved, against one setting.

See Godbole et al. (2023), "Deep Learning Tuning Playbook".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tunebook.analysis.comparable import Comparable
from tunebook.analysis.effects import Effect
from tunebook.analysis.findings import Findings
from tunebook.analysis.isolation import Best, best_by_value
from tunebook.analysis.levels import is_listed, number, scale
from tunebook.analysis.results import Results, repeated_over
from tunebook.report.pictures.axes import log_scale
from tunebook.report.pictures.style import (
    BLUE,
    MANY,
    MAX_UPRIGHT,
    ORANGE,
    RED,
    SMALLEST,
    Picture,
    axes_of,
    band_of_noise,
    edge,
    in_the_tail,
    on_two_lines,
    scale_of_objective,
    short,
    shown,
)
from tunebook.text_output import clipped, counted

SPREAD = 0.18  # half the width of the runs of one listed value; the values are 1 apart
MAX_ACROSS = 50  # characters of all labels of listed values together


def of_setting(results: Results, findings: Findings, effect: Effect, place: int) -> Picture:
    """Draw the objective of every run against one setting, and the best for each of its values."""
    factor, label = shown(results.objective)
    setting, compared = effect.setting, findings.compared
    units = [unit for unit in compared.units() if setting.name in unit.row]
    rows = [unit.row for unit in units]
    best = best_by_value(setting, rows, [unit.value for unit in units], results.direction)
    members = [member for unit in units for member in unit.members]
    xs = _places([compared.runs[member].values for member in members], effect, best, units)
    ys = factor * np.array([compared.values[member] for member in members])
    at_chance, lost = _lost(compared, members, ys, results.direction)
    figure, axes = axes_of(2.9)
    scale_of_objective(axes, results, ys[~lost])
    axes.plot(xs[~lost], ys[~lost], "o", color=BLUE, markersize=5, rasterized=len(ys) > MANY,
              markeredgecolor=edge(BLUE, "o", len(ys)), markeredgewidth=0.5)  # fmt: skip
    _draw_lost(axes, xs[lost], results.direction)
    _draw_best(axes, best, factor, _is_log(effect, rows), (min(ys[~lost]), max(ys[~lost])))
    if findings.noise is not None:
        top = (max if results.direction == "max" else min)(unit.value for unit in units)
        limits = axes.get_ylim()
        band_of_noise(axes, "y", factor * top, factor * findings.noise.sd)
        axes.set_ylim(limits)
    _scale_x(axes, effect, best, rows)
    axes.set_xlabel(short(setting.name))
    at = f" at epoch {compared.epoch}" if compared.epoch else ""
    axes.set_ylabel(on_two_lines(label + at, MAX_UPRIGHT))
    parts = [f"{_verdict(effect)}, n = {counted(len(units), 'configuration')}.", _legend(effect)]
    if findings.noise is not None:
        parts.append(f"Grey: twice the noise between {repeated_over(results.runs)}.")
    if lost.any():
        parts.append(_lost_text(lost, at_chance, results.direction))
    return Picture(f"setting-{place + 1:02d}", short(setting.name), " ".join(parts), figure)


def _lost(compared: Comparable, members: Sequence[int], ys: Any, direction: str) -> tuple[Any, Any]:
    """Return masks of the runs that did not learn, and of those that are drawn at the edge.

    At the edge are the runs that did not learn, if others did, and those that are far worse than
    most.
    """
    learned = set(compared.learned(members))
    at_chance = np.array([member not in learned for member in members], dtype=bool)
    lost = at_chance.copy()
    lost[~at_chance] = in_the_tail(ys[~at_chance], direction)
    return at_chance, lost


def _is_ranged(effect: Effect, rows: Sequence[Any]) -> bool:
    return scale(effect.setting, rows) is not None and not is_listed(effect.setting)


def _is_log(effect: Effect, rows: Sequence[Any]) -> bool:
    ends = scale(effect.setting, rows)
    return ends is not None and ends[2] and not is_listed(effect.setting)


def _places(
    values: Sequence[Any], effect: Effect, best: Sequence[Best], units: Sequence[Any]
) -> Any:
    """Return the x of each run: its value, or the position of its value, a little to the side.

    values: the settings of each run, with those of a configuration next to each other.
    """
    name = effect.setting.name
    if _is_ranged(effect, [unit.row for unit in units]):
        return np.array([number(row[name]) or 0.0 for row in values])
    unit_places = {member: one.left for one in best for member in one.members}
    of_runs = [
        unit_places[number_of_unit]
        for number_of_unit, unit in enumerate(units)
        for _ in unit.members
    ]
    found = np.array(of_runs, dtype=float)
    for place in set(of_runs):
        here = found == place
        if here.sum() > 1:
            found[here] += np.linspace(-SPREAD, SPREAD, int(here.sum()))
    return found


def _draw_lost(axes: Axes, xs: Any, direction: str) -> None:
    """Draw runs that did not learn, or are far worse, at the edge of the picture."""
    if not len(xs):
        return  # an empty line would count as one at the origin when the figure is laid out
    y = 0.02 if direction == "max" else 0.98
    axes.plot(xs, [y] * len(xs), "x", color=ORANGE, markersize=6, markeredgewidth=1.4,
              transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip


def _draw_best(
    axes: Axes, best: Sequence[Best], factor: float, is_log: bool, limits: tuple[float, float]
) -> None:
    """Draw the best for each value, unless it is worse than all runs that are drawn as dots.

    limits: the lowest and the highest of these runs.
    """
    for one in best:
        if not limits[0] <= factor * one.value <= limits[1]:
            continue
        left, right = one.left, one.right
        middle = float(np.sqrt(left * right)) if is_log else (left + right) / 2
        if left == right:
            left, right = left - 0.3, right + 0.3
        value, low, high = (factor * number for number in (one.value, one.low, one.high))
        axes.plot([left, right], [value, value], color=RED, lw=2.2)
        axes.errorbar(middle, value, yerr=[[value - low], [high - value]], color=RED, lw=1.2,
                      capsize=3)  # fmt: skip


def _scale_x(axes: Axes, effect: Effect, best: Sequence[Best], rows: Sequence[Any]) -> None:
    if _is_ranged(effect, rows):
        if _is_log(effect, rows):
            log_scale(axes, "x")
        return
    longest = max(6, MAX_ACROSS // max(1, len(best)))
    labels = [f"{clipped(one.text, longest)}\n(n = {len(one.members)})" for one in best]
    axes.set_xticks(range(len(best)), labels, fontsize=SMALLEST)
    axes.set_xlim(-0.6, len(best) - 0.4)


def _verdict(effect: Effect) -> str:
    """Return whether the setting matters, with its p value."""
    if effect.p is None:
        return "Not tested"
    says = "Matters" if effect.matters else "Indistinguishable from chance"
    return f"{says}, adjusted p {'< 0.0001' if effect.p < 1e-4 else f'= {effect.p:.2g}'}"


def _legend(effect: Effect) -> str:
    where = "with each value" if is_listed(effect.setting) else "in each part of the range"
    return f"Dots: runs. Red: the best configuration {where}, with its 95 % bootstrap interval."


def _lost_text(lost: Any, at_chance: Any, direction: str) -> str:
    """Return what the crosses at the edge are."""
    where = "bottom" if direction == "max" else "top"
    failed = int(at_chance.sum())
    others = int(lost.sum()) - failed
    parts = [f"{counted(failed, 'run')} that did not learn"] if failed else []
    parts += [f"{counted(others, 'run')} that {'is' if others == 1 else 'are'} far worse"] * (
        others > 0
    )
    return f"Crosses at the {where}: {' and '.join(parts)}."
