"""Draw the pictures of the findings about runs and data sets.

style      defines how pictures look, and writes them as SVG and PNG
axes       sets limits and ticks
runs       draws the leaderboard, importances, learning curves and the history of runs
isolation  draws the best configuration for each value of one setting
settings   draws settings: two at a time, all together
cost       draws the objective against time, with the Pareto front
ablation   draws the path of an ablation
data       draws the classes and the sizes of the images of a data set
"""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl

from tunebook.analysis.ablation import StepEffect
from tunebook.analysis.findings import Findings
from tunebook.analysis.results import Results
from tunebook.report.pictures import ablation, cost, isolation, runs, settings
from tunebook.report.pictures.style import STYLE, Picture

__all__ = ["Picture", "ablation_picture", "pictures"]

MAX_PLOTS = 12  # pictures of single settings


def pictures(results: Results, findings: Findings) -> Iterator[Picture]:
    """Yield every picture for which there is something to draw."""
    with mpl.rc_context(STYLE):
        if sum(configuration.n for configuration in findings.leaderboard) > 1:
            yield runs.leaderboard(results, findings)
        if findings.importances:
            yield runs.importance(findings)
        tested = [effect for effect in findings.effects if len(effect.levels) > 1]
        yield from (
            isolation.of_setting(results, findings, effect, place)
            for place, effect in enumerate(tested[:MAX_PLOTS])
        )
        if len(tested) > 1 and len(findings.compared.runs) > 3:
            yield settings.of_pairs(results, findings, tested)
        if len(tested) > 2 and len(findings.compared.runs) > 3:
            yield settings.parallel(results, findings, tested)
        if any(len(run.curve) > 1 for run in results.runs):
            yield runs.curves(results)
        if cost.can_be_drawn(findings):
            yield cost.against_time(results, findings)
        if len(results.runs) > 1:
            yield runs.history(results)


def ablation_picture(
    objective: str,
    texts: Sequence[str],
    values: Sequence[Mapping[int, float]],
    effects: Sequence[StepEffect],
) -> Picture:
    """Return the picture of a path; see `ablation.waterfall`."""
    with mpl.rc_context(STYLE):
        return ablation.waterfall(objective, texts, values, effects)
