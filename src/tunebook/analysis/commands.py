"""What to run next, as commands: more seeds for the best configurations, a range beyond an end where the best values lie."""

import math
import shlex
from collections.abc import Mapping, Sequence

from tunebook.analysis.effects import Edge
from tunebook.analysis.leaderboard import Configuration
from tunebook.analysis.levels import as_text
from tunebook.analysis.pairs import Pair
from tunebook.analysis.results import Results, Setting, Value

SCRIPT = "python src/train.py"
BEST = 3  # configurations that get more seeds
USUAL_SEEDS, MOST_SEEDS = 5, 20  # in one go
SEARCH = ("sweep=random", "sweep.space=null", "sweep.trials=20")


def key(name: str) -> str:
    """The word of the command line: `optimizer.lr (optimizer=adam)` is optimizer.lr there."""
    return name.partition(" (")[0]


def words(values: Mapping[str, Value], without: Sequence[str] = ()) -> list[str]:
    """key=value of each setting, options before what depends on them, but for those of `without`; numbers in full."""
    found = [f"{key(name)}={in_full(value)}" for name, value in values.items() if key(name) not in without]
    return sorted(found, key=lambda word: "." in word.partition("=")[0])


def in_full(value: Value) -> str:
    """As the command line takes it, to the last digit."""
    return repr(value) if isinstance(value, float) else as_text(value)


def command(parts: Sequence[str]) -> str:
    """A line for a shell."""
    return shlex.join([*shlex.split(SCRIPT), "-m", *parts])


def next_commands(
    results: Results, ranked: Sequence[Configuration], pairs: Sequence[Pair], edges: Sequence[Edge], fixed: Sequence[str]
) -> tuple[str, ...]:
    """Beyond ends first, then more seeds. () where nothing is ranked."""
    beyond = [found for edge in edges if (found := _beyond(results, ranked, edge, fixed))]
    return (*beyond, *_more_seeds(results, ranked, pairs, fixed))


def _more_seeds(results: Results, ranked: Sequence[Configuration], pairs: Sequence[Pair], fixed: Sequence[str]) -> list[str]:
    """New seeds, the same for each, so that they pair; as many as would tell the first two apart, within 5 to 20.

    None where no pair is undecided.
    """
    undecided = [pair for pair in pairs[: BEST - 1] if pair.verdict != "better"]
    if not undecided and (pairs or not ranked or ranked[0].n >= USUAL_SEEDS):
        return []
    have = min(len(configuration.seeds) for configuration in ranked[:BEST])
    wanted = max([USUAL_SEEDS, *(pair.needed for pair in undecided[:1] if pair.needed is not None)])
    seeds = _new_seeds(results, min(MOST_SEEDS, max(wanted - have, USUAL_SEEDS)))
    return [command([*fixed, *words(configuration.values), seeds]) for configuration in ranked[:BEST]]


def _new_seeds(results: Results, count: int) -> str:
    first = max((run.seed for run in results.runs if run.seed is not None), default=-1) + 1
    return f"seed=range({count})" if first == 0 else f"seed=range({first},{first + count})"


def _beyond(results: Results, ranked: Sequence[Configuration], edge: Edge, fixed: Sequence[str]) -> str:
    """Half of its range further, from its outermost third on, the best configuration otherwise; '' where there is nothing beyond."""
    name = edge.setting.name
    best = next((configuration for configuration in ranked if name in configuration.values), None)
    if best is None:
        return ""
    whole = all(isinstance(run.values.get(name, 0), int) for run in results.runs)
    varied, seeds = (_next_values(edge, whole), [_new_seeds(results, 3)]) if edge.setting.values else (_range_beyond(edge, whole), [])
    if not varied:
        return ""
    search = [] if edge.setting.values else SEARCH
    return command([*search, *fixed, *words(best.values, [key(name)]), f"{key(name)}={varied}", *seeds])


def _next_values(edge: Edge, whole: bool) -> str:
    """The last value of the list and the one that would follow: 16,32,64 goes on with 128, on a linear scale with 80."""
    numbers = sorted({float(value) for value in edge.setting.values if isinstance(value, int | float)}, reverse=not edge.upwards)
    if len(numbers) < 2:
        return ""
    last, before = numbers[-1], numbers[-2]
    following = last * last / before if edge.setting.log and before > 0 and last > 0 else 2 * last - before
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
