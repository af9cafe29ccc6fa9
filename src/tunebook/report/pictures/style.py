"""How pictures look, and what one is: drawn once, for a page (SVG, in its colour of text) and as a file (PNG).

Colours are those of Okabe & Ito (2008), which people of any colour vision tell apart; shapes and hatching say the same again.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunebook.analysis.levels import as_text
from tunebook.analysis.results import Value

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#888888"
INK, PAPER = "#010203", "#fefdfc"  # stand for the page's own colours
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tunebook", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
    "axes.titlesize": 11, "axes.titlelocation": "left", "axes.grid": True, "grid.color": GREY, "grid.alpha": 0.25, "axes.axisbelow": True,
}  # fmt: skip
SHOWN = {"complete": (BLUE, "o"), "pruned": (ORANGE, "v"), "failed": (RED, "x")}  # colour and marker of each state
MOST_CONFIGURATIONS, MOST_CURVES, MOST_LINES = 15, 8, 300
MANY = 600  # points above which they are one image within the SVG
WIDTH = 7.2  # inches


@dataclass(frozen=True)
class Picture:
    """name: of its file; title, and caption: what to see in it."""

    name: str
    title: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """On white."""
        data = io.BytesIO()
        self.figure.savefig(data, format="png", dpi=144, facecolor="white", bbox_inches="tight")
        return data.getvalue()

    def svg(self) -> str:
        """For a page, in its colour of text."""
        text = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(text, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
        svg = text.getvalue()
        svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{self.name}-", svg[svg.index("<svg") :])  # several share a page
        return (
            svg.replace(INK, "currentColor")
            .replace(PAPER, "var(--paper)")
            .replace("<svg ", f'<svg role="img" aria-label="{self.title}" ', 1)
        )


def axes_of(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure of this size in inches, and what is drawn on."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def shown(objective: str) -> tuple[float, str]:
    """Factor and label of an axis: accuracies in per cent."""
    return (100.0, f"{objective}, %") if objective.endswith("acc") else (1.0, objective)


def short(name: str) -> str:
    """`optimizer.lr (optimizer=adam)` as `lr (adam)`."""
    key, _, when = name.partition(" (")
    return key.rpartition(".")[2] + (f" ({when.partition('=')[2]}" if when else "")


def named(values: Mapping[str, Value], first: Sequence[str]) -> str:
    """A configuration in about 60 characters: `adam lr=0.001 filters=16`: categories, then numbers, those of `first` before others."""
    order = sorted(values, key=lambda name: ("." in name, first.index(name) if name in first else len(first)))
    words: list[str] = []
    for name in order:
        text = f"{values[name]:.3g}" if isinstance(values[name], float) else as_text(values[name])
        words.append(f"{short(name).partition(' (')[0]}={text}" if "." in name else text)
    kept = [word for place, word in enumerate(words) if len(" ".join(words[: place + 1])) <= 60]
    return " ".join([*kept, *(["…"] if len(kept) < len(words) else [])])


def leave_out_the_tail(axes: Axes, ys: Any, direction: str) -> None:
    """Runs at chance level would press all others into a line: they are left out below, and counted."""
    if len(ys) < 8:
        return
    q1, q3 = np.quantile(ys, (0.25, 0.75))
    limit = q1 - 4 * (q3 - q1) if direction == "max" else q3 + 4 * (q3 - q1)
    left_out = ys < limit if direction == "max" else ys > limit
    if not left_out.any() or q1 == q3:
        return
    kept = ys[~left_out]
    margin = 0.06 * float(np.ptp(kept))
    axes.set_ylim(kept.min() - margin, kept.max() + margin)
    where = "below" if direction == "max" else "above"
    axes.set_title(f"{left_out.sum()} more {where}", loc="right", fontsize=8)
