"""Findings: all that a study's runs say, in figures and in sentences, and what to run next."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunebook.report.commands import next_commands
from tunebook.report.comparable import Comparable, comparable
from tunebook.report.design import design
from tunebook.report.effects import Edge, Effect, edges, effects
from tunebook.report.importance import Importance, importances
from tunebook.report.interactions import Interaction, interactions
from tunebook.report.leaderboard import Configuration, SeedNoise, leaderboard, seed_noise
from tunebook.report.pairs import Pair, against_the_leader
from tunebook.report.results import Results
from tunebook.report.sampling import Failing, Gap, failing, gaps
from tunebook.report.sentences import Found, sentences, warnings


@dataclass(frozen=True)
class Findings:
    """Of one study. sentences: the most useful first; warnings: what biases them; next_commands: lines for a shell."""

    leaderboard: tuple[Configuration, ...]
    noise: SeedNoise | None
    compared: Comparable
    effects: tuple[Effect, ...]
    importances: tuple[Importance, ...]
    interactions: tuple[Interaction, ...]
    edges: tuple[Edge, ...]
    pairs: tuple[Pair, ...]
    gaps: tuple[Gap, ...]
    failing: tuple[Failing, ...]
    warnings: tuple[str, ...]
    sentences: tuple[str, ...]
    next_commands: tuple[str, ...]


def findings(results: Results, fixed: Sequence[str] = ()) -> Findings:
    """Of any results, none and failed ones included; the same for each call. fixed: words put into every command, as data=mnist.

    2,000 runs of 8 settings take some seconds, most of them for the bootstraps of importance.
    """
    board = leaderboard(results)
    ranked = [configuration for configuration in board if configuration.n]
    noise, compared = seed_noise(board), comparable(results)
    model = design(results, compared)
    settings = effects(results, compared, model)
    found = Found(
        results, board, noise, compared, settings, importances(results, compared), interactions(model, settings), edges(model, settings),
        against_the_leader(ranked, noise), gaps(results, compared, settings), failing(results),
    )  # fmt: skip
    return Findings(
        board, noise, compared, settings, found.importances, found.interactions, found.edges, found.pairs, found.gaps, found.failing,
        warnings(found), sentences(found), next_commands(results, ranked, found.pairs, found.edges, fixed),
    )  # fmt: skip
