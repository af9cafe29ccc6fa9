"""Suggest what to run next, by what it is expected to gain for its cost.

The gain of a search is the sum of the expected improvements of its next trials. The gain of further
seeds is how much better the configuration is that is chosen after them. Both come from a model of
the runs: see `surrogate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tunebook.analysis.commands import (
    BEST,
    BEYOND,
    FINALIST,
    USUAL_SEEDS,
    Start,
    beyond,
    comparison,
    more_seeds,
    search_command,
    winner_commands,
)
from tunebook.analysis.effects import BoundaryOptimum
from tunebook.analysis.leaderboard import Configuration, configuration_key
from tunebook.analysis.pairs import Pair
from tunebook.analysis.results import Results
from tunebook.analysis.sentences import difference_text
from tunebook.analysis.surrogate import Surrogate, seeds_gain
from tunebook.text_output import counted

SEARCH_RUNS, SEARCHED = 35, 26  # runs of the suggested search, and those without further seeds
BEYOND_RUNS, VALUES = 20, 2  # trials beyond the end of a range, and values beyond that of a list
VALUE_SEEDS = 3  # of each of these values
LITTLE = 0.0002  # gains below it, in a metric from 0 to 1, are not worth a search


@dataclass(frozen=True)
class Suggestion:
    """Hold a command to run next.

    why: in a few words. expected_gain: how much better the chosen configuration is expected to be
    after this command and the others with the same reason, in the objective's unit; None if it is
    unknown. cost_runs: the number of runs of this command.
    """

    command: str
    why: str
    expected_gain: float | None
    cost_runs: int


def suggestions(
    results: Results,
    ranked: Sequence[Configuration],
    pairs: Sequence[Pair],
    edges: Sequence[BoundaryOptimum],
    start: Start,
) -> tuple[tuple[Suggestion, ...], str]:
    """Return what to run next, and a sentence if a search is not worth it, or "".

    Commands for values beyond the end of a range come first, then the search and the further seeds,
    of which the one that gains more for each run comes first. Commands that train several sweeps
    are followed by the one that compares them. All choices use validation metrics, and only the
    runs of the winner among the finalists use the test set. Nothing is suggested if nothing is
    ranked, or if test metrics were compared: these must not be used for choosing.
    """
    if results.objective.startswith("test/"):
        return (), ""
    found = _beyond_the_ends(results, ranked, edges, start)
    commands, count = more_seeds(results, ranked, pairs, start)
    search_text = search_command(start, SEARCH_RUNS)
    is_needed = (commands or search_text) and not any(one.overlap for one in ranked)
    model = Surrogate.of(results) if is_needed else None
    search, stop = _search(results, model, search_text)
    seeds = _seeds(results, ranked, start, model, commands, count)
    groups = sorted((group for group in (search, seeds) if group), key=_gain_per_run, reverse=True)
    found += [one for group in groups for one in group]
    if start.finalists:
        found += [
            Suggestion(text, "tests the winner", None, USUAL_SEEDS)
            for text in winner_commands(results, ranked, start)
        ]
    return tuple({one.command: one for one in found}.values()), stop


def _gain_per_run(group: Sequence[Suggestion]) -> float:
    gain, runs = group[0].expected_gain, sum(one.cost_runs for one in group)
    return -1.0 if gain is None else gain / runs


def _beyond_the_ends(
    results: Results,
    ranked: Sequence[Configuration],
    edges: Sequence[BoundaryOptimum],
    start: Start,
) -> list[Suggestion]:
    found = []
    for edge in edges:
        if text := beyond(results, ranked, edge, start):
            why = f"the best values of {edge.setting.name} lie at the end of its range"
            runs = VALUES * VALUE_SEEDS if edge.setting.values else BEYOND_RUNS
            found.append(Suggestion(text, why, None, runs))
    if found:
        found.append(Suggestion(comparison(start, BEYOND), "compares these runs", None, 0))
    return found


def _search(results: Results, model: Surrogate | None, text: str) -> tuple[list[Suggestion], str]:
    """Return the command that goes on searching; or that it is not worth it."""
    if model is None or not text:
        return [], ""
    gain = model.in_unit(model.search_gain(SEARCHED))
    amount = difference_text(results.objective, gain)
    if gain < LITTLE:
        little = difference_text(results.objective, LITTLE)
        return [], f"Another {SEARCHED} trials of a search are expected to gain less than {little}."
    why = f"{SEARCHED} more trials of a search are expected to gain {amount}, before more seeds"
    return [Suggestion(text, why, gain, SEARCH_RUNS)], ""


def _seeds(
    results: Results,
    ranked: Sequence[Configuration],
    start: Start,
    model: Surrogate | None,
    commands: Sequence[str],
    count: int,
) -> list[Suggestion]:
    if not commands:
        return []
    why, gain = f"{counted(count, 'more seed')} each for the best, whose order is open", None
    if model is not None:
        best = {configuration_key(one.values) for one in ranked[:BEST]}
        tried = [one for one in model.tried() if configuration_key(one.values) in best]
        if len(tried) > 1:
            gain = model.in_unit(seeds_gain(tried, model.noise, [count] * len(tried)))
            amount = difference_text(results.objective, gain)
            why += f"; choosing after them is expected to gain {amount}"
    found = [Suggestion(text, why, gain, count) for text in commands]
    return [*found, Suggestion(comparison(start, FINALIST), "compares these runs", None, 0)]
