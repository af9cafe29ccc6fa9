"""Runs that differ in their seed only, taken together: n, mean and standard deviation; and two settings compared seed by seed.

Read from MLflow. Works on finished runs; a run's settings are its MLflow parameters.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow import MlflowClient

from tunebook.checks import InputError, nearest

PAGE = 1000  # runs a request


@dataclass(frozen=True)
class RunRow:
    """One finished run: its parameters and the last value of each metric, and where it ran."""

    params: dict[str, str]
    metrics: dict[str, float]
    hardware: str


@dataclass(frozen=True)
class Group:
    """Runs with the same settings. varying: the settings in which it differs from the other groups."""

    varying: dict[str, str]
    values: tuple[float, ...]
    hardware: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Of the metric over the seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """Sample standard deviation over the seeds; NaN for one run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan


def finished_runs(uri: str, experiment: str) -> list[RunRow]:
    """All finished runs of an experiment. InputError where there is none."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = [e.name for e in client.search_experiments()]
        there = ", ".join(names)
        raise InputError(f"experiment_name={experiment}: no such experiment in {uri}; there are: {there}.{nearest(experiment, names)}")
    rows: list[RunRow] = []
    token: str | None = None
    while token is None or token:
        page = client.search_runs([found.experiment_id], "attributes.status = 'FINISHED'", max_results=PAGE, page_token=token)
        # A sweep's own run is none, and a reproduction no further one.
        results = [run for run in page if run.data.tags.get("sweep.kind") != "sweep" and "reproduces" not in run.data.tags]
        rows += [RunRow(dict(r.data.params), dict(r.data.metrics), r.data.tags.get("cpu", "unknown")) for r in results]
        token = page.token or ""
    if not rows:
        raise InputError(f"experiment_name={experiment}: has no finished run")
    return rows


def by_settings(rows: Sequence[RunRow], metric: str) -> list[Group]:
    """Groups of runs that differ in `seed` only, best mean first (highest; for a loss or a time lowest)."""
    names = sorted({name for row in rows for name in row.params} - {"seed"})
    varying = [name for name in names if len(_values(rows, name)) > 1]
    varying = [name for name in varying if not _follows_from_its_option(rows, name, varying)]
    groups: dict[tuple[str, ...], list[RunRow]] = defaultdict(list)
    for row in rows:
        if metric in row.metrics:
            groups[tuple(row.params.get(name, "-") for name in varying)].append(row)
    if not groups:
        known = sorted({name for row in rows for name in row.metrics})
        raise InputError(f"metric={metric}: no run has it; there are: {', '.join(known)}.{nearest(metric, known)}")
    made = [
        Group(dict(zip(varying, key, strict=True)), tuple(r.metrics[metric] for r in runs), tuple(sorted({r.hardware for r in runs})))
        for key, runs in groups.items()
    ]
    return sorted(made, key=lambda group: group.mean, reverse=not metric.startswith("time/") and not metric.endswith("loss"))


def _values(rows: Sequence[RunRow], name: str) -> set[str]:
    return {row.params.get(name, "-") for row in rows}


def _follows_from_its_option(rows: Sequence[RunRow], name: str, varying: Sequence[str]) -> bool:
    """True for `model.filters` where `model` varies too, and each model has always the same filters: the model's name says it."""
    option = name.partition(".")[0]
    if option == name or option not in varying:
        return False
    choices = _values(rows, option)
    return all(len(_values([row for row in rows if row.params.get(option, "-") == choice], name)) == 1 for choice in choices)


def table(groups: Sequence[Group], metric: str) -> str:
    """The groups as a Markdown table."""
    head = f"| settings | n | {metric} mean | sd | lowest | highest |\n|{' --- |' * 6}"
    lines = []
    for group in groups:
        figures = (len(group.values), f"{group.mean:.5g}", f"{group.sd:.2g}", f"{min(group.values):.5g}", f"{max(group.values):.5g}")
        lines.append(" | ".join(["| " + settings(group.varying), *map(str, figures)]) + " |")
    hardware = sorted({name for group in groups for name in group.hardware})
    return "\n".join([head, *lines, "", f"on {' and '.join(hardware)}"])


def settings(varying: dict[str, str]) -> str:
    """The settings of a group in a few words."""
    return ", ".join(f"{name}={value}" for name, value in varying.items()) or "the same in all runs"


@dataclass(frozen=True)
class Paired:
    """`second` minus `first` over runs that share all else, their seed included. half_width: of the 95 % confidence interval."""

    first: str
    second: str
    differences: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean difference."""
        return statistics.fmean(self.differences)

    @property
    def half_width(self) -> float:
        """Student's t, n - 1 degrees of freedom; NaN for one pair."""
        from scipy.stats import t

        n = len(self.differences)
        return float(t.ppf(0.975, n - 1)) * statistics.stdev(self.differences) / math.sqrt(n) if n > 1 else math.nan


def pairs(rows: Sequence[RunRow], metric: str, setting: str) -> Paired:
    """Runs that differ in `setting` only, paired. InputError where there aren't two values of it, or no pair."""
    values = sorted({row.params[setting] for row in rows if setting in row.params})
    if len(values) != 2:
        raise InputError(f"paired={setting}: needs runs with two values of it; there are: {', '.join(values) or 'none'}")
    cells: dict[tuple[tuple[str, str], ...], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if setting in row.params and metric in row.metrics:
            rest = tuple(sorted((name, value) for name, value in row.params.items() if name != setting))
            cells[rest][row.params[setting]] = row.metrics[metric]
    differences = tuple(cell[values[1]] - cell[values[0]] for cell in cells.values() if len(cell) == 2)
    if not differences:
        raise InputError(f"paired={setting}: no two runs differ in it only")
    return Paired(values[0], values[1], differences)
