"""Write the shell commands that `advice` suggests.

They go on searching, try more seeds for the best configurations, and values beyond the end of a
range if the best values lie at that end.
"""

import hashlib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunebook.analysis.effects import BoundaryOptimum
from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.levels import as_text
from tunebook.analysis.pairs import Pair
from tunebook.analysis.results import IMAGES, Results, Setting, Value
from tunebook.program import call
from tunebook.text_output import quoted

BEYOND, FINALIST, WINNER = "beyond", "finalist", "winner"  # follow the stem in a sweep's name
UNTESTED = "sweep.test=false"
NOT_IN_A_NAME = re.compile(r"[^\w.,=+ -]+")
MAX_STEM = 60
PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")  # text that Hydra accepts without quotes
BEST = 3  # configurations that get more seeds
USUAL_SEEDS, MAX_SEEDS = 5, 20  # new seeds in one command
SEARCH = ("sweep=random", "sweep.space=null", "sweep.trials=20")


def key(name: str) -> str:
    """Return a setting's key on the command line.

    The key of `optimizer.lr (optimizer=adam)` is `optimizer.lr`.
    """
    return name.partition(" (")[0]


def words(values: Mapping[str, Value], without: Sequence[str] = ()) -> list[str]:
    """Return an override `key=value` for each setting whose key is not in `without`.

    Options come before the settings that depend on them. Floats are written to the last digit.
    """
    found = [
        f"{key(name)}={exact_text(value)}"
        for name, value in values.items()
        if key(name) not in without
    ]
    return sorted(found, key=lambda word: "." in word.partition("=")[0])


def exact_text(value: Value) -> str:
    """Return the value as Hydra's command line accepts it, to the last digit."""
    if isinstance(value, str) and not PLAIN.fullmatch(value) and not value.startswith(("[", "{")):
        return quoted(value)
    return repr(value) if isinstance(value, float) else as_text(value)


@dataclass(frozen=True)
class Start:
    """Hold what the suggested commands start from.

    name: the name of what was compared.
    fixed: overrides that all runs share.
    places: overrides that say where the runs are, such as tracking.uri=...; every command gets
        them.
    finalists: whether the compared runs come from earlier suggestions of more seeds.
    images: the name of images -> overrides that say where they are, if the runs differ in them.
    going_on: the words of `train -m` that go on searching where the compared sweep has ended,
        without the budget; () if that is not possible.
    spent: the part of that budget that has been used.
    """

    name: str
    fixed: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    finalists: bool = False
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    going_on: tuple[str, ...] = ()
    spent: int = 0

    def words(self, values: Mapping[str, Value], without: Sequence[str] = ()) -> list[str]:
        """Return the overrides of a configuration, with the place of its images, if they vary."""
        places = self.images.get(str(values.get(IMAGES)), ())
        return [*places, *words(values, [*without, IMAGES])]

    @property
    def stem(self) -> str:
        """Return the name, shortened and cleaned, as the beginning of a sweep's name."""
        return NOT_IN_A_NAME.sub(" ", self.name)[:MAX_STEM].strip(". ") or "runs"


def command(start: Start, parts: Sequence[str], kind: str, first: Sequence[str] = ()) -> str:
    """Return the shell command that starts a sweep.

    Of several overrides with the same key, the last one is used.
    kind: what follows the stem in the sweep's name.
    first: arguments that come before all others.
    """
    last = {word.partition("=")[0]: word for word in [*start.fixed, *start.places, *parts]}
    digest = hashlib.sha256("\n".join(last.values()).encode()).hexdigest()[:6]
    name = f"sweep.name={quoted(f'{start.stem} {kind} {digest}')}"
    return shlex.join([*call("train"), "-m", *first, *last.values(), name])


def search_command(start: Start, runs: int) -> str:
    """Return the command that goes on searching with this many further runs; "" if none can."""
    if not start.going_on:
        return ""
    last = {word.partition("=")[0]: word for word in [*start.going_on, *start.places]}
    return shlex.join([*call("train"), "-m", *last.values(), f"budget={start.spent + runs}"])


def comparison(start: Start, kind: str) -> str:
    """Return the command that compares the runs of all sweeps of this kind."""
    found = f'runs=tags."sweep.name" LIKE "{start.stem} {kind} %"'
    return shlex.join([*call("compare"), found, *start.places])


def winner_commands(results: Results, ranked: Sequence[Configuration], start: Start) -> list[str]:
    """Return the command that tests the winner of the finalists, if its seeds suffice."""
    if not ranked or ranked[0].n < USUAL_SEEDS:
        return []
    return [
        command(start, [*start.words(ranked[0].values), _new_seeds(results, USUAL_SEEDS)], WINNER)
    ]


def more_seeds(
    results: Results, ranked: Sequence[Configuration], pairs: Sequence[Pair], start: Start
) -> tuple[list[str], int]:
    """Return the commands that run the best configurations with new seeds, and how many seeds.

    All of them get the same seeds, so that their runs can be paired. The number of seeds, from 5 to
    20, is the number needed to tell the first two apart. No commands if no pair is undecided.
    """
    undecided = [pair for pair in pairs[: BEST - 1] if pair.verdict != "better"]
    if not undecided and (pairs or not ranked or ranked[0].n >= USUAL_SEEDS):
        return [], 0
    have = min(len(configuration.seeds) for configuration in ranked[:BEST])
    wanted = max([USUAL_SEEDS, *(pair.needed for pair in undecided[:1] if pair.needed is not None)])
    count = min(MAX_SEEDS, max(wanted - have, USUAL_SEEDS))
    seeds = _new_seeds(results, count)
    return [
        command(start, [*start.words(configuration.values), seeds, UNTESTED], f"{FINALIST} {place}")
        for place, configuration in enumerate(ranked[:BEST], 1)
    ], count


def _new_seeds(results: Results, count: int) -> str:
    first = max((run.seed for run in results.runs if run.seed is not None), default=-1) + 1
    return f"seed=range({count})" if first == 0 else f"seed=range({first},{first + count})"


def beyond(
    results: Results, ranked: Sequence[Configuration], edge: BoundaryOptimum, start: Start
) -> str:
    """Return the command of a sweep beyond the end at which the best values lie.

    A range is continued by half its width, starting at its outermost third; a list by one value.
    The other settings are those of the best configuration. '' if there is nothing beyond the
    end.
    """
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
    parts = [*start.words(best.values, [key(name)]), f"{key(name)}={varied}", *seeds]
    if edge.setting.values:
        return command(start, [*parts, UNTESTED], f"{BEYOND} {key(name)}")
    return command(start, parts, f"{BEYOND} {key(name)}", first=SEARCH)


def _next_values(edge: BoundaryOptimum, whole: bool) -> str:
    """Return the last value of the list and the one that would follow, separated by a comma.

    16,32,64 is continued with 128 on a logarithmic scale, and with 96 on a linear one.
    """
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


def _range_beyond(edge: BoundaryOptimum, whole: bool) -> str:
    """Return the new range in Hydra's syntax; '' if there is none.

    It is interval(a, b), or int(interval(a, b)) for integers, within tag(log, ...) if the scale
    is logarithmic.
    """
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
    """Return whether no value can lie beyond this end.

    These are 0, and 1 if the range has no negative values: fractions and probabilities end there.
    """
    return not setting.log and (end == 0 or (end == 1 and setting.low >= 0))


def _number(value: float, whole: bool) -> str:
    return str(round(value)) if whole else f"{value:.3g}"
