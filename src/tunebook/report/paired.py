"""Compare two values of one setting over runs that share all other settings."""

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

from scipy.stats import t

from tunebook.analysis.learning import is_ranked
from tunebook.analysis.results import overlap
from tunebook.analysis.sentences import difference_text
from tunebook.config.validation import InputError, suggest
from tunebook.report.read import ComparedRuns
from tunebook.text_output import counted


@dataclass(frozen=True)
class Paired:
    """Hold the differences `second` minus `first` over pairs of runs.

    The runs of a pair share all other settings, including the seed.
    """

    setting: str
    first: str
    second: str
    differences: tuple[float, ...]
    objective: str
    overlap: float = 0.0  # of training images in a cross-validation

    @property
    def mean(self) -> float:
        """Return the mean difference."""
        return statistics.fmean(self.differences)

    @property
    def half_width(self) -> float:
        """Return the half width of the 95 % confidence interval of the mean difference.

        It uses Student's t with n - 1 degrees of freedom, corrected in a cross-validation (Nadeau &
        Bengio 2003). NaN for one pair.
        """
        n = len(self.differences)
        if n < 2:
            return math.nan
        error = statistics.stdev(self.differences) * math.sqrt(1 / n + self.overlap)
        return float(t.ppf(0.975, n - 1)) * error

    def text(self) -> str:
        """Return the comparison in one line."""
        n = len(self.differences)
        mean = ("+" if self.mean >= 0 else "") + difference_text(self.objective, self.mean)
        width = difference_text(self.objective, self.half_width)
        figures = (
            f"{mean} +- {width} (mean and 95 % interval of {counted(n, 'pair')})"
            if n > 1
            else f"{mean} (1 pair)"
        )
        return f"{self.setting}: {self.second} minus {self.first} = {figures}"


def pairs(study: ComparedRuns, setting: str) -> Paired:
    """Return the comparison of complete runs that differ in `setting` only.

    If it is an option, its own settings may differ, too. Raise InputError if the runs do not
    have exactly two values of the setting, or if there is no pair.
    """
    known = {name for params in study.params.values() for name in params}
    if setting not in known:
        raise InputError(f"paired={setting}: no run has this setting.{suggest(setting, known)}")
    values = sorted({params[setting] for params in study.params.values() if setting in params})
    if len(values) != 2:
        raise InputError(
            f"paired={setting}: needs runs with exactly two values; found: {', '.join(values)}"
        )
    cells: dict[tuple[tuple[str, str], ...], dict[str, float]] = defaultdict(dict)
    for run in filter(is_ranked, study.results.runs):
        params = study.params[run.run_id]
        if setting in params and run.objective is not None:
            others = (
                (name, value)
                for name, value in params.items()
                if name != setting and not name.startswith(f"{setting}.")
            )
            rest = tuple(sorted(others))  # without the option's own settings
            cells[rest][params[setting]] = run.objective
    differences = tuple(
        cell[values[1]] - cell[values[0]] for cell in cells.values() if len(cell) == 2
    )
    if not differences:
        raise InputError(f"paired={setting}: no two runs differ only in this setting")
    overlapping = overlap(study.results.runs)
    return Paired(setting, values[0], values[1], differences, study.results.objective, overlapping)
