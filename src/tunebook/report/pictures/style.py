"""Define how pictures look, and write them as SVG and PNG.

A picture is drawn once, for a page (SVG, in the text colour of the page) and as a file (PNG). Each
colour has a contrast of at least 3:1 to the page in light and in dark mode, so that the same
picture serves both. The colours are close to those of Okabe & Ito (2008), which people with any
colour vision can tell apart. Shapes and hatching show the same distinctions again.
"""

import html
import io
import math
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunebook.analysis.levels import as_text
from tunebook.analysis.results import Results, Value
from tunebook.metrics.facts import facts_of
from tunebook.report.pictures.axes import keep_in_bounds, log_scale, scale_of_errors
from tunebook.text_output import clipped, printable

BLUE, ORANGE, GREEN, RED, SKY, GREY = (
    "#0072B2",
    "#C87600",
    "#009E73",
    "#D62839",
    "#2F93D0",
    "#888888",
)
INK, PAPER = "#010203", "#fefdfc"  # placeholders for the page's text and background colours
SMALLEST = 9  # points, of any text
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tunebook",
    "font.size": 10,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": SMALLEST,
    "text.parse_math": False,  # a `$` in a name is an ordinary character
    "axes.formatter.useoffset": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
}
# Colour and marker of each state.
SHOWN = {"complete": (BLUE, "o"), "pruned": (ORANGE, "v"), "failed": (RED, "x")}
MAX_CONFIGURATIONS, MAX_CURVES, MAX_LINES = 15, 8, 300
FAR_APART = 1000  # ratio of the largest to the smallest value
MANY = 600  # points; more are drawn as one image within the SVG
WIDTH, FULL_WIDTH = 5.5, 11.2  # inches: two side by side on a page, and one across it
MAX_UPRIGHT, MAX_TITLE = 26, 60  # characters


@dataclass(frozen=True)
class Picture:
    """Hold a picture and its texts on the page.

    name: the name of its file.
    caption: what it shows.
    is_wide: whether it takes the full width of the page.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    is_wide: bool = False

    def png(self) -> bytes:
        """Return the picture as PNG, on white."""
        data = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
            self.figure.savefig(data, format="png", dpi=144, facecolor="white")
        return data.getvalue()

    def svg(self) -> str:
        """Return the picture as SVG for a page, in the text colour of the page."""
        text = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": self.name}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        svg, kind = text.getvalue(), "wide" if self.is_wide else "narrow"
        # Ids get the picture's name, because several pictures share a page.
        svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{self.name}-", svg[svg.index("<svg") :])
        return (
            svg.replace(INK, "currentColor")
            .replace(PAPER, "var(--paper)")
            .replace(
                "<svg ",
                f'<svg class="{kind}" role="img" aria-label="{html.escape(self.title)}" ',
                1,
            )
        )


def axes_of(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def edge(colour: str, marker: str, points: int) -> str:
    """Return the colour of the edges of markers.

    It is that of the page, so that overlapping markers can be told apart. Crosses, and points that
    are drawn as an image, keep their own colour.
    """
    return colour if marker == "x" or points > MANY else PAPER


def band_of_noise(axes: Axes, name: str, middle: float, sd: float) -> None:
    """Draw a band of twice the noise between runs to both sides of a value.

    name: the axis of the value, "x" or "y".
    middle: the value.
    sd: the noise.
    """
    span, line = (axes.axvspan, axes.axvline) if name == "x" else (axes.axhspan, axes.axhline)
    span(middle - 2 * sd, middle + 2 * sd, color=GREY, alpha=0.18, lw=0)
    for end in (middle - 2 * sd, middle + 2 * sd):
        line(end, color=GREY, lw=0.8, ls=":", zorder=1)


def ink_on(colour: Sequence[float]) -> str:
    """Return black or white, whichever has the greater contrast to a colour.

    colour: its red, green and blue, from 0 to 1.
    """
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]
    ]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def shown(objective: str) -> tuple[float, str]:
    """Return the factor and the label of the objective's axis, which may be in percent."""
    label = clipped(objective, MAX_TITLE)
    facts = facts_of(objective)
    return facts.factor, f"{label}, %" if facts.in_percent else label


def on_two_lines(text: str, longest: int) -> str:
    """Return the text on one line, or on two if it is longer than `longest`.

    It is broken at a space. If two lines are not enough, it is clipped to one.
    """
    shown = printable(text)
    lines = textwrap.wrap(shown, longest, break_long_words=False, break_on_hyphens=False)
    return (
        "\n".join(clipped(line, longest) for line in lines)
        if len(lines) == 2
        else clipped(shown, longest)
    )


def legend_below(figure: Figure) -> None:
    """Put the legend of the figure below its axes, so that it covers nothing."""
    figure.legend(
        loc="outside lower center", ncols=4, handlelength=1.4, columnspacing=1.2, handletextpad=0.5
    )


def short(name: str) -> str:
    """Return a setting's short name: `lr (adam)` for `optimizer.lr (optimizer=adam)`."""
    key, _, when = name.partition(" (")
    return clipped(
        key.rpartition(".")[2] + (f" ({when.partition('=')[2]}" if when else ""), MAX_TITLE
    )


def named(values: Mapping[str, Value], first: Sequence[str]) -> str:
    """Return a configuration in about 60 characters, such as `adam lr=0.001 filters=16`.

    Options come before other settings; within each group, those in `first` come first.
    """
    order = sorted(
        values, key=lambda name: ("." in name, first.index(name) if name in first else len(first))
    )
    words: list[str] = []
    for name in order:
        text = (
            f"{values[name]:.3g}"
            if isinstance(values[name], float)
            else clipped(as_text(values[name]))
        )
        words.append(
            f"{clipped(short(name).partition(' (')[0])}={text}"
            if "." in name or not isinstance(values[name], str)
            else text
        )
    kept = [word for place, word in enumerate(words) if len(" ".join(words[: place + 1])) <= 60]
    return " ".join([*kept, *(["…"] if len(kept) < len(words) else [])])


def in_the_tail(values: Any, direction: str) -> Any:
    """Return a mask of the values that are much worse than most.

    On one axis, they would compress all others into a line.
    """
    if len(values) < 8:
        return np.zeros(len(values), dtype=bool)
    q1, q3 = np.quantile(values, (0.25, 0.75))
    if q1 == q3:
        return np.zeros(len(values), dtype=bool)
    return values < q1 - 4 * (q3 - q1) if direction == "max" else values > q3 + 4 * (q3 - q1)


def are_far_apart(values: Any) -> bool:
    """Return whether the values need a logarithmic axis.

    They do if all are positive and of very different sizes, such as losses of 0.1 and 1e30.
    """
    return bool(len(values) and values.min() > 0 and values.max() > FAR_APART * values.min())


def clip_outliers(axes: Axes, ys: Any, direction: str) -> None:
    """Limit the y axis to values that are not in the tail, and say how many are left out.

    Otherwise, runs at chance level would compress all others into a line. The axis is logarithmic
    if the values are far apart.
    """
    left_out = in_the_tail(ys, direction)
    kept = ys[~left_out]
    if are_far_apart(kept):
        axes.set_ylim(kept.min() / 2, 2 * kept.max())
        log_scale(axes, "y")
    if not left_out.any():
        return
    if not are_far_apart(kept):
        margin = 0.06 * float(np.ptp(kept))
        axes.set_ylim(kept.min() - margin, kept.max() + margin)
    where = "below" if direction == "max" else "above"
    axes.set_title(f"{left_out.sum()} more {where}", loc="right", fontsize=SMALLEST)


def scale_of_objective(axes: Axes, results: Results, values: Any) -> None:
    """Scale the y axis so that differences between good values can be seen.

    The axis shows errors on a logarithmic scale, labelled by the metric, for one in percent of
    which 100 % is best. It is logarithmic for positive values of which 0 is best.
    values: those that are drawn, in the unit of the axis.
    """
    facts = facts_of(results.objective)
    if facts.in_percent and results.direction == "max" and len(values):
        scale_of_errors(axes, values)
        return
    lowest = min(values, default=0.0)
    if lowest > 0 and ((facts.low == 0 and facts.direction == "min") or are_far_apart(values)):
        margin = max(0.08 * math.log(max(values) / lowest), 0.02)
        axes.set_ylim(lowest * math.exp(-margin), max(values) * math.exp(margin))
        log_scale(axes, "y")
    keep_in_bounds(axes, "y", results.objective)
