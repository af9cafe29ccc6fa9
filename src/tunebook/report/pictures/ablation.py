"""Draw the path of an ablation, from the defaults to the winner."""

from collections.abc import Mapping, Sequence

import numpy as np

from tunebook.analysis.ablation import StepEffect
from tunebook.report.pictures.axes import keep_in_bounds
from tunebook.report.pictures.style import (
    BLUE,
    FULL_WIDTH,
    GREEN,
    GREY,
    INK,
    RED,
    SKY,
    Picture,
    axes_of,
    legend_below,
    shown,
)
from tunebook.text_output import clipped

COLOURS = {"helps": GREEN, "nothing shown": GREY, "hurts": RED}
HATCHES = {"helps": "", "nothing shown": "", "hurts": "///"}  # not by colour alone
MAX_STEP = 44  # characters of a step's label


def waterfall(
    objective: str,
    texts: Sequence[str],
    values: Sequence[Mapping[int, float]],
    effects: Sequence[StepEffect],
) -> Picture:
    """Draw each step as a bar from the mean before to the mean after it.

    texts, values: of each configuration, its name and its objective for each seed. effects: of each
    step, one fewer.
    """
    factor, label = shown(objective)
    figure, axes = axes_of(1.3 + 0.42 * len(values), FULL_WIDTH)
    means = [factor * float(np.mean(list(one.values()))) for one in values]
    named: set[str] = set()
    for place, effect in enumerate(effects, 1):
        before, after = means[place - 1], means[place]
        axes.barh(
            place, after - before, left=before, height=0.5, color=COLOURS[effect.verdict],
            hatch=HATCHES[effect.verdict], edgecolor=INK if HATCHES[effect.verdict] else "none",
            alpha=0.55, zorder=2, label=None if effect.verdict in named else effect.verdict,
        )  # fmt: skip
        named.add(effect.verdict)
        axes.plot([before, before], [place - 1, place + 0.25], color=GREY, lw=0.8, zorder=1)
    for place, one in enumerate(values):
        points = [factor * value for value in one.values()]
        axes.plot(points, [place] * len(points), "o", color=SKY, markersize=4, zorder=4)
    axes.plot(means, range(len(means)), "D", color=BLUE, markersize=6, ls="none", zorder=5)
    every = np.array([factor * value for one in values for value in one.values()])
    reach = 0.6 * float(np.ptp(every)) or 0.01 * factor
    axes.set_xlim(every.min() - reach, every.max() + reach)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_yticks(range(len(texts)), [clipped(text, MAX_STEP) for text in texts])
    axes.set_xlabel(label)
    keep_in_bounds(axes, "x", objective)
    for place, effect in enumerate(effects, 1):  # within the limits, since intervals may be wide
        if np.isfinite(width := factor * effect.half_width):
            axes.errorbar(means[place], place, xerr=width, color=INK, lw=1.2, capsize=3, zorder=3)
    legend_below(figure)
    caption = (
        "Diamonds: means over seeds. Dots: runs. Bars: what each change adds. Lines: 95 % "
        "intervals of the paired difference to the configuration above."
    )
    return Picture("ablation", "From the defaults to the winner", caption, figure, is_wide=True)
