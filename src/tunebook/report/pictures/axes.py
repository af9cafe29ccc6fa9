"""Set the limits and ticks of axes.

No axis goes beyond the values that its metric can have, such as 0 to 100 %, and logarithmic scales
show plain numbers.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox, TransformedBbox

from tunebook.metrics.facts import facts_of

MAX_TICKS = 7  # on a logarithmic axis
UNITS = (("s", 1.0), ("min", 60.0), ("h", 3600.0))
MAX_IN_A_UNIT = 120.0  # from this value on, the next larger unit is used


def keep_in_bounds(axes: Axes, name: str, objective: str) -> None:
    """Limit an axis to the values that the objective can have.

    name: "x" or "y".
    """
    facts = facts_of(objective)
    low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
    if facts.low is not None:
        lowest = facts.factor * facts.low
        low = max(lowest, low) if high > lowest else low
    if facts.high is not None:
        highest = facts.factor * facts.high
        high = min(highest, high) if low < highest else high
    (axes.set_xlim if name == "x" else axes.set_ylim)(low, high)
    # Markers at a limit are drawn in full; lines that continue beyond the limits are clipped.
    box = TransformedBbox(Bbox([[-0.03, -0.05], [1.03, 1.05]]), axes.transAxes)
    for line in axes.lines:
        values = np.asarray(line.get_xdata() if name == "x" else line.get_ydata(), dtype=float)
        is_inside = bool(((low <= values) & (values <= high)).all())
        if line.get_clip_on() and (is_inside or line.get_linestyle() == "None"):
            line.set_clip_path(None)
            line.set_clip_box(box)


def log_scale(axes: Axes, name: str) -> None:
    """Make an axis logarithmic, with plain numbers as labels.

    name: "x" or "y".
    """
    axis: Axis = axes.xaxis if name == "x" else axes.yaxis
    (axes.set_xscale if name == "x" else axes.set_yscale)("log")
    axis.set_major_locator(FixedLocator(log_ticks(*sorted(axis.get_view_interval()))))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def scale_of_errors(axes: Axes, values: Sequence[float]) -> None:
    """Make the y axis, of values in percent, show their distance to 100 % on a logarithmic scale.

    99 % and 98 % are as far apart as 90 % and 80 %. The labels are the values themselves. A value
    of 100 % is drawn as half as far from it as the next one.
    values: those that are drawn; the limits are a little beyond them.
    """
    errors = [100.0 - value for value in values]
    floor = min((error for error in errors if error > 1e-9), default=1.0) / 2

    def forward(shown: Any) -> Any:
        return -np.log(np.maximum(100.0 - np.asarray(shown, dtype=float), floor))

    def inverse(place: Any) -> Any:
        return 100.0 - np.exp(-np.asarray(place, dtype=float))

    places = forward(values)
    margin = 0.08 * float(np.ptp(places)) or 0.1
    low, high = float(inverse(places.min() - margin)), float(inverse(places.max() + margin))
    axes.set_yscale("function", functions=(forward, inverse))
    axes.set_ylim(max(0.0, low), min(high, 100.0 - floor / 2))
    ticks = [100.0 - tick for tick in log_ticks(100.0 - high, 100.0 - low)]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def log_ticks(low: float, high: float) -> list[float]:
    """Return some round numbers between two positive ends.

    They are 1, 2 and 5, or 1 and 3, or 1 alone, times powers of ten; if few of these are in the
    range, they are evenly spaced.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        found = [value for value in found if low <= value <= high]
        if 3 <= len(found) <= MAX_TICKS:
            return found
    if len(found) > MAX_TICKS:
        return found[:: math.ceil(len(found) / MAX_TICKS)]
    return [float(value) for value in MaxNLocator(4).tick_values(low, high) if low <= value <= high]


def plain(value: float) -> str:
    """Return a number in plain notation: `0.0001`, `6`, `20,000`.

    It has an exponent only if it would be very long otherwise.
    """
    if value == 0 or not 1e-6 <= abs(value) < 1e7:
        return f"{value:.3g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def time_unit(seconds: Sequence[float]) -> tuple[str, float]:
    """Return the unit that fits the longest of these durations, and its length in seconds."""
    for name, length in UNITS:
        if max(seconds) < MAX_IN_A_UNIT * length:
            return name, length
    return UNITS[-1]
