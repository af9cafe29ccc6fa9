"""What to run next, as commands: more seeds for the best configurations, a range beyond an end where the best values lie."""

import hashlib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunebook.analysis.effects import Edge
from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.levels import as_text
from tunebook.analysis.pairs import Pair
from tunebook.analysis.results import Results, Setting, Value
from tunebook.text_output import quoted

SCRIPT, COMPARE = "python src/train.py", "python src/compare.py"
BEYOND, FINALIST, WINNER = (
    "beyond",
    "finalist",
    "winner",
)  # in names of sweeps, after what was compared
UNTESTED = "sweep.test=false"
NOT_IN_A_NAME = re.compile(r"[^\w.,=+ -]+")
LONGEST_STEM = 60
PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")  # what Hydra takes without quotes
BEST = 3  # configurations that get more seeds
USUAL_SEEDS, MOST_SEEDS = 5, 20  # in one go
SEARCH = ("sweep=random", "sweep.space=null", "sweep.trials=20")


def key(name: str) -> str:
    """The word of the command line: `optimizer.lr (optimizer=adam)` is optimizer.lr there."""
    return name.partition(" (")[0]


def words(values: Mapping[str, Value], without: Sequence[str] = ()) -> list[str]:
    """key=value of each setting, options before what depends on them, but for those of `without`; numbers in full."""
    found = [
        f"{key(name)}={in_full(value)}"
        for name, value in values.items()
        if key(name) not in without
    ]
    return sorted(found, key=lambda word: "." in word.partition("=")[0])


def in_full(value: Value) -> str:
    """Return the value as Hydra's command line takes it, to the last digit."""
    if isinstance(value, str) and not PLAIN.fullmatch(value) and not value.startswith(("[", "{")):
        return quoted(value)
    return repr(value) if isinstance(value, float) else as_text(value)


@dataclass(frozen=True)
class Start:
    """What the commands start from.

    name: of what was compared; fixed: settings that all runs share; places: where the runs are and go, for every program, as
    tracking.uri=...; finalists: whether what was compared is the runs that earlier commands of this kind made.
    """

    name: str
    fixed: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    finalists: bool = False

    @property
    def stem(self) -> str:
        """Return the name as the name of a sweep may begin."""
        return NOT_IN_A_NAME.sub(" ", self.name)[:LONGEST_STEM].strip(". ") or "runs"


def command(start: Start, parts: Sequence[str], kind: str, first: Sequence[str] = ()) -> str:
    """Return a sweep's command as a line for a shell; the last word of a key holds. kind: what its name says after the stem."""
    last = {word.partition("=")[0]: word for word in [*start.fixed, *start.places, *parts]}
    digest = hashlib.sha256("\n".join(last.values()).encode()).hexdigest()[:6]
    name = f"sweep.name={quoted(f'{start.stem} {kind} {digest}')}"
    return shlex.join([*shlex.split(SCRIPT), "-m", *first, *last.values(), name])


def comparison(start: Start, kind: str) -> str:
    """Return the command that compares the runs of all sweeps of this kind."""
    found = f'runs=tags."sweep.name" LIKE "{start.stem} {kind} %"'
    return shlex.join([*shlex.split(COMPARE), found, *start.places])


def next_commands(
    results: Results,
    ranked: Sequence[Configuration],
    pairs: Sequence[Pair],
    edges: Sequence[Edge],
    start: Start,
) -> tuple[str, ...]:
    """Return what to run next: beyond ends first, then more seeds, each followed by the comparison of what it gives.

    Everything is chosen by validation figures, and no test set is touched, but by the runs of the winner among finalists. () where
    nothing is ranked, and where test figures were compared: these are no ground to choose by.
    """
    if results.objective.startswith("test/"):
        return ()
    beyond = [found for edge in edges if (found := _beyond(results, ranked, edge, start))]
    if beyond:
        beyond.append(comparison(start, BEYOND))
    seeds = _more_seeds(results, ranked, pairs, start)
    if seeds:
        seeds.append(comparison(start, FINALIST))
    winner = _test_of_the_winner(results, ranked, start) if start.finalists else []
    return tuple(dict.fromkeys([*beyond, *seeds, *winner]))


def _test_of_the_winner(
    results: Results, ranked: Sequence[Configuration], start: Start
) -> list[str]:
    if not ranked or ranked[0].n < USUAL_SEEDS:
        return []
    return [command(start, [*words(ranked[0].values), _new_seeds(results, USUAL_SEEDS)], WINNER)]


def _more_seeds(
    results: Results, ranked: Sequence[Configuration], pairs: Sequence[Pair], start: Start
) -> list[str]:
    """Return new seeds, the same for each, so that they pair; as many as would tell the first two apart, within 5 to 20.

    None where no pair is undecided.
    """
    undecided = [pair for pair in pairs[: BEST - 1] if pair.verdict != "better"]
    if not undecided and (pairs or not ranked or ranked[0].n >= USUAL_SEEDS):
        return []
    have = min(len(configuration.seeds) for configuration in ranked[:BEST])
    wanted = max([USUAL_SEEDS, *(pair.needed for pair in undecided[:1] if pair.needed is not None)])
    seeds = _new_seeds(results, min(MOST_SEEDS, max(wanted - have, USUAL_SEEDS)))
    return [
        command(start, [*words(configuration.values), seeds, UNTESTED], f"{FINALIST} {place}")
        for place, configuration in enumerate(ranked[:BEST], 1)
    ]


def _new_seeds(results: Results, count: int) -> str:
    first = max((run.seed for run in results.runs if run.seed is not None), default=-1) + 1
    return f"seed=range({count})" if first == 0 else f"seed=range({first},{first + count})"


def _beyond(results: Results, ranked: Sequence[Configuration], edge: Edge, start: Start) -> str:
    """Half of its range further, from its outermost third on, the best configuration otherwise; '' where there is nothing beyond."""
    name = edge.setting.name
    best = next((configuration for configuration in ranked if name in configuration.values), None)
    if best is None:
        return ""
    whole = all(isinstance(run.values.get(name, 0), int) for run in results.runs)
    varied, seeds = (
        (_next_values(edge, whole), [_new_seeds(results, 3)])
        if edge.setting.values
        else (_range_beyond(edge, whole), [])
    )
    if not varied:
        return ""
    parts = [*words(best.values, [key(name)]), f"{key(name)}={varied}", *seeds]
    if edge.setting.values:
        return command(start, [*parts, UNTESTED], f"{BEYOND} {key(name)}")
    return command(start, parts, f"{BEYOND} {key(name)}", first=SEARCH)


def _next_values(edge: Edge, whole: bool) -> str:
    """The last value of the list and the one that would follow: 16,32,64 goes on with 128, on a linear scale with 80."""
    numbers = sorted(
        {float(value) for value in edge.setting.values if isinstance(value, int | float)},
        reverse=not edge.upwards,
    )
    if len(numbers) < 2:
        return ""
    last, before = numbers[-1], numbers[-2]
    following = (
        last * last / before if edge.setting.log and before > 0 and last > 0 else 2 * last - before
    )
    if whole:
        following = float(round(following))
    if following == last or _is_a_bound(edge.setting, last) or (following <= 0 <= last):
        return ""
    return ",".join(_number(value, whole) for value in (last, following))


def _range_beyond(edge: Edge, whole: bool) -> str:
    """In Hydra's words: tag(log, interval(a, b)), interval(a, b), int(interval(a, b))."""
    low, high, log = edge.setting.low, edge.setting.high, edge.setting.log and edge.setting.low > 0
    if not low < high or _is_a_bound(edge.setting, edge.end):
        return ""
    size = math.log(high / low) if log else high - low
    steps = (2 / 3, 3 / 2) if edge.upwards else (-1 / 2, 1 / 3)
    ends = [low * math.exp(size * step) if log else low + size * step for step in steps]
    if not log and low >= 0:
        ends[0] = max(0.0, ends[0])
    if not log and 0 <= low < high <= 1:
        ends[1] = min(1.0, ends[1])
    if whole:
        ends = [float(round(end)) for end in ends]
    inner = f"interval({_number(ends[0], whole)}, {_number(ends[1], whole)})"
    inner = f"int({inner})" if whole else inner
    return f"tag(log, {inner})" if log else inner


def _is_a_bound(setting: Setting, end: float) -> bool:
    """0, and 1 for what lies between 0 and 1: shares and probabilities go no further."""
    return not setting.log and (end == 0 or (end == 1 and setting.low >= 0))


def _number(value: float, whole: bool) -> str:
    return str(round(value)) if whole else f"{value:.3g}"
