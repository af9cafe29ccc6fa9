"""Collect everything that a study's runs show: statistics, sentences, and what to run next."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunebook.analysis.advice import Suggestion, suggestions
from tunebook.analysis.caveats import warnings
from tunebook.analysis.commands import Start
from tunebook.analysis.comparable import ages
from tunebook.analysis.cost import cost_sentences, costs
from tunebook.analysis.design import design
from tunebook.analysis.effects import edges, effects
from tunebook.analysis.importance import importances
from tunebook.analysis.interactions import of_all_ages
from tunebook.analysis.leaderboard import leaderboard, seed_noise
from tunebook.analysis.optimism import optimism, optimism_sentence
from tunebook.analysis.pairs import compare_to_best
from tunebook.analysis.results import Results
from tunebook.analysis.sampling import failing, gaps
from tunebook.analysis.sentences import Found, sentences


@dataclass(frozen=True)
class Findings(Found):
    """Hold the findings of one study.

    sentences: the most useful first.
    warnings: what biases them.
    next: what to run next.
    """

    warnings: tuple[str, ...]
    sentences: tuple[str, ...]
    next: tuple[Suggestion, ...]

    @property
    def next_commands(self) -> tuple[str, ...]:
        """Return what to run next, as lines for a shell."""
        return tuple(one.command for one in self.next)


def findings(results: Results, fixed: Sequence[str] = (), start: Start | None = None) -> Findings:
    """Return the findings of any results, even if there are none or all runs have failed.

    Each call gives the same findings. 2,000 runs with 8 settings take some seconds.
    fixed: overrides for every suggested command, such as data=mnist.
    start: used instead of `fixed` if it is given.
    """
    board = leaderboard(results)
    ranked = [configuration for configuration in board if configuration.n]
    noise, each = seed_noise(board), ages(results)
    compared = each[-1]
    models, joint = of_all_ages(results, [(one, design(results, one)) for one in each])
    settings = effects(results, list(zip(each, models, strict=True)))
    found = Found(
        results,
        board,
        noise,
        compared,
        settings.settings,
        settings.joint,
        importances(results, models[-1]),
        joint,
        edges(models[-1], compared, settings.settings),
        compare_to_best(ranked, noise),
        gaps(results, compared, settings.settings),
        failing(results),
    )
    advice, stop = suggestions(
        results, ranked, found.pairs, found.edges, start or Start(results.name, tuple(fixed))
    )
    said = [*sentences(found), *_costs(found), *([stop] if stop else [])]
    said[1:1] = _luck(found, start is not None and start.finalists)
    return Findings(**vars(found), warnings=warnings(found), sentences=tuple(said), next=advice)


def _luck(found: Found, fresh: bool) -> list[str]:
    """Return what to expect of the leader with fresh seeds, as no or one sentence."""
    expected = optimism(found.results, found.leaderboard, fresh)
    sentence = optimism_sentence(found.results, found.leaderboard, expected)
    return [sentence] if sentence else []


def _costs(found: Found) -> tuple[str, ...]:
    """Return a sentence for each setting whose values differ in their durations."""
    medians = {
        effect.setting.name: {one.level.text: one.median for one in effect.levels}
        for effect in found.effects
        if effect.matters and not found.compared.selected
    }
    return cost_sentences(found.results, costs(found.results, found.leaderboard), medians)
