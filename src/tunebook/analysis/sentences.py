"""Express the findings as short sentences with figures and their units."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunebook.analysis.commands import words
from tunebook.analysis.comparable import Comparable
from tunebook.analysis.effects import BoundaryOptimum, Effect, Joint
from tunebook.analysis.importance import SOURCE, Importance
from tunebook.analysis.interactions import Interaction
from tunebook.analysis.leaderboard import Configuration, SeedNoise
from tunebook.analysis.learning import chance_level, is_ranked
from tunebook.analysis.levels import as_text
from tunebook.analysis.pairs import MAX_SEEDS, Pair
from tunebook.analysis.results import Results, Value, repeated_over
from tunebook.analysis.sampling import Failing, Gap
from tunebook.metrics.facts import facts_of
from tunebook.text_output import counted

MAX_NAMED = 5  # failing values, and levels of a gap
DEFAULTS = "the defaults"  # the name of a configuration without any settings


@dataclass(frozen=True)
class Found:
    """Hold what the sentences are made from.

    effects: those that matter come first. The other collections are empty if nothing was found,
    or nothing could be tested.
    """

    results: Results
    leaderboard: tuple[Configuration, ...]
    noise: SeedNoise | None
    compared: Comparable
    effects: tuple[Effect, ...]
    joint: tuple[Joint, ...]
    importances: tuple[Importance, ...]
    interactions: tuple[Interaction, ...]
    edges: tuple[BoundaryOptimum, ...]
    pairs: tuple[Pair, ...]
    gaps: tuple[Gap, ...]
    failing: tuple[Failing, ...]


def value_text(objective: str, value: float) -> str:
    """Return a metric's value as text, in percent where that suits the metric."""
    return f"{100 * value:.2f} %" if facts_of(objective).in_percent else f"{value:.4g}"


def difference_text(objective: str, difference: float) -> str:
    """Return a difference of two values as text, in percentage points for a metric in percent."""
    in_percent = facts_of(objective).in_percent
    return f"{100 * difference:.2f} points" if in_percent else f"{difference:.3g}"


def configuration_text(configuration: Configuration) -> str:
    """Return the overrides of a configuration, numbers with four digits."""
    short = {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in configuration.values.items()
    }
    return " ".join(words(short)) or DEFAULTS


def measured_text(objective: str, configuration: Configuration) -> str:
    """Return the objective of a configuration over its runs.

    For example: `97.10 %, the median of 3 runs (95 % interval +- 0.21 points)`.
    """
    value, n = value_text(objective, configuration.median), len(configuration.learned)
    if configuration.n == 1:
        return f"{value}, from one run"
    if n == 1:
        return f"{value}, from the only one of {configuration.n} runs that learned"
    runs = (
        f"{n} runs" if n == configuration.n else f"the {n} of {configuration.n} runs that learned"
    )
    width = difference_text(objective, configuration.half_width)
    return f"{value}, the median of {runs} (95 % interval +- {width})"


def failures_text(configuration: Configuration) -> str:
    """Return how many runs of a configuration did not learn, for a table; "" for none."""
    return (
        f"({configuration.at_chance} of {configuration.n} did not learn)"
        if configuration.at_chance
        else ""
    )


def configuration_value(value: Value) -> str:
    """Return a setting's value as shown in a configuration: numbers with four digits."""
    return as_text(float(f"{value:.4g}") if isinstance(value, float) else value)


def p_text(p: float) -> str:
    """Return p with two digits, or its upper bound if it is tiny."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def sentences(found: Found) -> tuple[str, ...]:
    """Return all sentences.

    They are about the leader, runs that did not learn, settings that matter, interactions, ends of
    ranges, failures, pairs, settings without an effect, noise and gaps, in this order.
    """
    if not any(configuration.n for configuration in found.leaderboard):
        return tuple(_nothing(found))
    parts = (
        _leader,
        _learning,
        _effects,
        _interactions,
        _edges,
        _failing,
        _pairs,
        _not_found,
        _noise,
        _gaps,
    )
    return tuple(sentence for part in parts for sentence in part(found))


def _nothing(found: Found) -> Iterator[str]:
    runs = found.results.runs
    if not runs:
        yield "There are no runs: nothing to compare."
        return
    states = ", ".join(
        f"{count} {state}" for state, count in Counter(run.state for run in runs).most_common()
    )
    if any(run.state == "complete" for run in runs):
        yield (
            f"No complete run has a finite {found.results.objective}: "
            f"nothing to compare ({states})."
        )
    else:
        yield f"No run has finished: nothing to compare ({states})."
    yield from _failing(found)


def _leader(found: Found) -> Iterator[str]:
    leader, name = found.leaderboard[0], found.results.objective
    start = "Best" if len(_ranked(found)) > 1 else "The only configuration compared"
    text = f"{start}: {configuration_text(leader)} with {name} {measured_text(name, leader)}"
    sign, others = (1 if found.results.direction == "max" else -1), _ranked(found)[1:]
    ahead = sum(not one.mostly_fails and sign * (one.median - leader.median) > 0 for one in others)
    if ahead:
        text += f"; better medians of fewer runs ({counted(ahead, 'configuration')}) may be luck"
    yield (
        f"{text}; how much of that is due to its seed is unknown." if leader.n == 1 else f"{text}."
    )


def _ranked(found: Found) -> list[Configuration]:
    return [configuration for configuration in found.leaderboard if configuration.n]


def _learning(found: Found) -> Iterator[str]:
    if text := learning_text(found.results, found.leaderboard):
        yield text


def learning_text(results: Results, board: Sequence[Configuration]) -> str:
    """Return how many runs did not learn, and which level decided that.

    "" if all runs learned, or if the chance level is unknown.
    """
    chance = chance_level(results)
    failed = sum(one.at_chance for one in board)
    if chance is None or not failed:
        return ""
    ranked = sum(map(is_ranked, results.runs))
    basis = (
        f"the level of guessing with {chance.classes} classes"
        if chance.classes
        else "within 5 points of the worst run, whose level is at most half of what others reach"
    )
    kind = "above" if chance.sign < 0 else "up to"
    limit = value_text(results.objective, chance.limit)
    return (
        f"{failed} of {counted(ranked, 'run')} ({100 * failed / ranked:.0f} %) did not learn: "
        f"{results.objective} {kind} {limit}, {basis}. "
        "Runs that did not learn are left out of medians, intervals "
        f"and the noise between {repeated_over(results.runs)}."
    )


def _effects(found: Found) -> Iterator[str]:
    for joint in found.joint:
        if joint.matters:
            names = counted(len(joint.settings), "range")
            yield (
                f"{joint.name} matters ({p_text(joint.p)}, all {names} tested together)"
                f"{_importance(found, joint.name)}."
            )
    for effect in found.effects:
        if effect.matters and effect.levels:
            yield (
                _early_effect(found, effect) if found.compared.selected else _effect(found, effect)
            )


def _early_effect(found: Found, effect: Effect) -> str:
    """Say that a setting matters, but not which value is best.

    It is for studies in which pruning decided which runs are compared, or at which epoch.
    """
    epoch = effect.epoch
    when = "among the runs that were not pruned" if epoch is None else f"at epoch {epoch}"
    difference = difference_text(found.results.objective, effect.difference)
    text = (
        f"{effect.setting.name} makes a difference {when} ({p_text(effect.p or 0.0)}), "
        f"{difference} between medians of its values"
    )
    return (
        f"{text}; pruned runs do not show which value is best in the end"
        f"{_importance(found, effect.setting.name)}."
    )


def _effect(found: Found, effect: Effect) -> str:
    name, best, worst = found.results.objective, effect.levels[0], effect.levels[-1]
    p = p_text(effect.p or 0.0)
    text = (
        f"{effect.setting.name} matters ({p}): best {best.level.text}, "
        f"median {value_text(name, best.median)}"
    )
    if len(effect.levels) > 1:
        text += f"; worst {worst.level.text}, {difference_text(name, effect.difference)} behind"
    if found.noise and effect.difference < found.noise.sd:
        text += f", which is less than the noise between {repeated_over(found.results.runs)}"
    return f"{text}{_importance(found, effect.setting.name)}{_leader_differs(found, effect)}."


def _importance(found: Found, name: str) -> str:
    importance = next((one for one in found.importances if one.setting.name == name), None)
    if importance is None:
        return ""
    low, high = 100 * importance.low, 100 * importance.high
    share = f"{100 * importance.share:.0f} % of what settings explain"
    return f"; {share} (95 % interval {low:.0f} to {high:.0f} %, {SOURCE})"


def _leader_differs(found: Found, effect: Effect) -> str:
    """Explain it if the best configuration has a value that is not the best overall."""
    values = found.leaderboard[0].values
    best, name = effect.levels[0].level, effect.setting.name
    if name not in values:
        return ""
    runs = found.compared.runs
    if any(repr(runs[member].values[name]) == repr(values[name]) for member in best.members):
        return ""
    value = configuration_value(values[name])
    return (
        f". That is over all configurations; the best single configuration has {value}, "
        "where other settings or chance make up for it"
    )


def _interactions(found: Found) -> Iterator[str]:
    for one in found.interactions:
        first, second = one.combination
        kind = "better" if one.excess > 0 else "worse"
        amount = difference_text(found.results.objective, abs(one.excess))
        at = "" if one.epoch is None else f" at epoch {one.epoch}"
        yield (
            f"{one.first.name} and {one.second.name} interact{at} ({p_text(one.p)}): "
            f"{one.first.name} {first.text} with {one.second.name} {second.text} "
            f"is {amount} {kind} than the two separate effects would give."
        )


def _edges(found: Found) -> Iterator[str]:
    for edge in found.edges:
        side, end = ("upwards", "upper") if edge.upwards else ("downwards", "lower")
        where = f"the {end} end of its range, {edge.end:.4g} ({p_text(edge.p)})"
        yield (
            f"{edge.setting.name} is best at {where} over all configurations: "
            f"extend it {side} if possible."
        )


def _failing(found: Found) -> Iterator[str]:
    for one in found.failing[:MAX_NAMED]:
        elsewhere = f"{one.elsewhere} of {one.of_elsewhere} elsewhere"
        verb = "fail" if one.learns else "do not learn"
        yield (
            f"Runs {verb} with {one.setting.name} {one.level.text}: "
            f"{one.failed} of {one.of}, {elsewhere} ({p_text(one.p)})."
        )


def _pairs(found: Found) -> Iterator[str]:
    name, repeats = found.results.objective, repeated_over(found.results.runs)
    for pair in found.pairs:
        other, n = configuration_text(pair.other), len(pair.repeats)
        if pair.verdict == "better" and pair.p is not None:
            interval = (
                f"{difference_text(name, pair.difference)} "
                f"+- {difference_text(name, pair.half_width)}"
            )
            yield (
                f"The best is better than {other} by {interval}, "
                f"the mean over {n} common {repeats} ({p_text(pair.p)})."
            )
        elif pair.p is not None:
            gap = difference_text(name, pair.difference)
            text = (
                f"The best and {other} differ by {gap}, the mean over {n} common {repeats}: "
                "indistinguishable from "
                + ("seed noise" if repeats == "seeds" else f"the noise between {repeats}")
            )
            yield f"{text} ({_needed(found, pair)})."
    unclear = [pair for pair in found.pairs if pair.p is None]
    if unclear:
        number = (
            f"the next {counted(len(unclear), 'configuration')}"
            if len(unclear) > 1
            else "the next configuration"
        )
        text = (
            f"The best and {number} have fewer than 3 {repeats} in common: "
            "no conclusion about their difference"
        )
        yield f"{text} ({_needed(found, unclear[0])})."


def _needed(found: Found, pair: Pair) -> str:
    if pair.difference == 0:
        return "the means are the same"
    if pair.leader.overlap:
        corrected = "corrected for the overlap of the training images"
        return "each further seed repeats all folds" if pair.p is None else corrected
    if pair.needed is None and found.noise is None and pair.p is None:
        return "how many seeds it would take is unknown without repeated seeds"
    number = f"more than {MAX_SEEDS:,}" if pair.needed is None else f"about {pair.needed}"
    gap = difference_text(found.results.objective, abs(pair.difference))
    return f"{number} seeds each would show a difference of {gap}, with a power of 80 %"


def _not_found(found: Found) -> Iterator[str]:
    """Name the settings without a significant effect.

    Each comes with the smallest effect that would have been detected, if it is known.
    """
    missed = [effect for effect in found.effects if effect.p is not None and not effect.matters]
    if not missed:
        return
    parts = [
        effect.setting.name
        if effect.smallest is None
        else f"{effect.setting.name} ({difference_text(found.results.objective, effect.smallest)})"
        for effect in missed
    ]
    text = f"No effect was found for {', '.join(parts)}"
    if all(effect.smallest is None for effect in missed):
        yield f"{text}: there may be one that so few runs do not show."
        return
    across = "across the range or between two values"
    yield (
        f"{text}. In parentheses is the smallest effect {across} that would have been found "
        "with a power of 80 %; smaller effects are possible."
    )


def _noise(found: Found) -> Iterator[str]:
    if found.noise:
        name = found.results.objective
        sd = difference_text(name, found.noise.sd)
        repeats = repeated_over(found.results.runs).removesuffix("s")
        yield (
            f"The {repeats} alone changes {name} by {sd} "
            f"(typical standard deviation, df = {found.noise.df})."
        )


def _gaps(found: Found) -> Iterator[str]:
    if len(found.compared.values) > 1 and len(set(found.compared.values)) == 1:
        yield (
            f"All comparable runs have the same {found.results.objective}: "
            "no setting shows an effect."
        )
        return
    whole: dict[str, list[str]] = defaultdict(list)
    for gap in found.gaps:
        if not gap.levels:
            whole[gap.reason].append(gap.setting.name)
            continue
        texts = [level.text for level in gap.levels[:MAX_NAMED]] + ["..."] * (
            len(gap.levels) > MAX_NAMED
        )
        yield f"Too few samples of {gap.setting.name} at {', '.join(texts)}: {gap.reason}."
    for reason, names in whole.items():
        yield f"Too few samples to judge {', '.join(names)}: {reason}."
