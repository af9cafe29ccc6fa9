"""Warn of biases in the findings, and of runs that do not count."""

from tunebook.analysis.comparable import ENOUGH, Comparable
from tunebook.analysis.learning import usable
from tunebook.analysis.levels import as_text
from tunebook.analysis.results import IMAGES, Setting
from tunebook.analysis.sentences import Found
from tunebook.text_output import counted


def warnings(found: Found) -> tuple[str, ...]:
    """Return sentences about biases in the findings and about runs that do not count."""
    results, compared = found.results, found.compared
    found_caveats = (
        [compared.warning[:1].upper() + compared.warning[1:] + "."] if compared.warning else []
    )
    found_caveats += [_of_images(one) for one in results.settings if one.name == IMAGES]
    ranked = [configuration for configuration in found.leaderboard if configuration.n]
    # With a single configuration, there is nothing to choose.
    if results.objective.startswith("test/") and len(ranked) > 1:
        found_caveats.append(
            f"{results.objective} shows how good the winner is; it is not meant for choosing it. "
            "Choose by a validation metric."
        )
    if results.adaptive:
        found_caveats.append(
            "The sweep was adaptive: it sampled most where results were good, "
            "which biases importances and tests of settings."
        )
    if compared.epoch is not None:
        found_caveats.append(
            "Some runs were pruned: settings are compared by the best value up to epoch "
            f"{compared.epoch}, which {_reached(compared)}; later epochs may rank them "
            "differently, so no value is called the best, and the leaderboard contains only "
            "the runs that were not pruned."
        )
    if len(ranked) > 1 and all(configuration.n == 1 for configuration in ranked):
        found_caveats.append(
            "Every configuration has one run: the leader may be ahead by the choice of seed alone."
        )
    lost = sum(run.state == "complete" and not usable(run.objective) for run in results.runs)
    if lost:
        runs = counted(len(results.runs), "run")
        found_caveats.append(
            f"{lost} of {runs} ended without a finite {results.objective}, "
            f"and {'is' if lost == 1 else 'are'} left out."
        )
    return tuple(found_caveats)


def _of_images(setting: Setting) -> str:
    return (
        f"The runs have {len(setting.values)} different sets of images "
        f"({', '.join(map(as_text, setting.values))}), so that their validation images differ as "
        "well: a difference between these need not be one between networks."
    )


def _reached(compared: Comparable) -> str:
    if len(compared.runs) == compared.of:
        return "all have reached"
    return (
        f"{len(compared.runs)} of {compared.of} have reached "
        f"(the last epoch that at least {ENOUGH} runs have reached, or else all)"
    )
