"""Compare two runs of one config, point by point.

Differences in the machine, the package versions, the code and the data are listed as well.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tunebook.config.validation import format_value
from tunebook.runs.stored_run import StoredRun
from tunebook.tags import PROJECT_CODE, PROJECT_NAME
from tunebook.tracking import describe, journal
from tunebook.tracking.store import RunNotFound

TIMES = ("time/", "speed/", "system/")  # metrics that differ from run to run
ORDER = ("lr", "train/", "val/", "best/", "test/")  # the order in which metrics are logged
# Tags that say where a run came from, as the `version.<package>` tags do.
ORIGIN = (
    "host",
    "cpu",
    "python",
    "precision",
    "git.commit",
    "git.dirty",
    PROJECT_NAME,
    PROJECT_CODE,
)
PACKAGES = "config/requirements.txt"
SHOWN = 5  # final figures, those with the largest differences first
SHOWN_PACKAGES = 10  # packages that no tag names

Point = tuple[int, str]  # epoch and metric


@dataclass(frozen=True)
class RunSnapshot:
    """Hold what a run recorded, for a comparison.

    points: its metrics, without times. digests: split of the data -> its digest.
    packages: name -> version.
    """

    points: Mapping[Point, float]
    tags: Mapping[str, str]
    digests: Mapping[str, str]
    packages: Mapping[str, str]


def from_mlflow(run: StoredRun, folder: Path) -> RunSnapshot:
    """Return the snapshot of a finished run.

    folder: the folder for downloaded artifacts.
    """
    points = {
        (step, metric): _finite(value)
        for metric in run.metrics
        if not metric.startswith(TIMES)
        for step, value in run.history(metric).items()
    }
    try:
        packages = run.download(PACKAGES, folder).read_text(errors="replace")
    except (RunNotFound, OSError):
        packages = ""  # the tags still name the most important packages
    return RunSnapshot(points, run.tags, run.digests, _versions(packages))


def from_journal(file: Path) -> RunSnapshot:
    """Return the snapshot of the run in this process, from its journal.

    The journal can be read even when the tracking store can't be reached.
    """
    points: dict[Point, float] = {}
    tags: dict[str, str] = {}
    digests: dict[str, str] = {}
    for record, _ in journal.read(file):
        if record["kind"] == "points":
            points |= {
                (step, metric): _finite(value)
                for metric, value, _, step in record["points"]
                if not metric.startswith(TIMES)
            }
        elif record["kind"] == "run":
            tags |= record["tags"]
        elif record["kind"] == "dataset":
            digests[record["context"]] = record["digest"]
    return RunSnapshot(points, tags, digests, _versions(describe.package_versions()))


def _finite(value: float) -> float:
    """Return a value as a database stores it: infinity becomes the largest finite number."""
    return max(-sys.float_info.max, min(sys.float_info.max, value))


def _versions(text: str) -> dict[str, str]:
    pairs = [
        line.split("==", 1)
        for line in text.splitlines()
        if "==" in line and not line.startswith("#")
    ]
    return {name.strip(): version.strip() for name, version in pairs}


@dataclass(frozen=True)
class RunComparison:
    """Compare a run with its reproduction."""

    then: RunSnapshot
    now: RunSnapshot

    @property
    def points(self) -> list[Point]:
        """Return every point that either run has, in the order in which they are logged."""
        return sorted({**self.then.points, **self.now.points}, key=_moment)

    @property
    def differing(self) -> list[Point]:
        """Return the points that only one run has, or whose values are not exactly equal."""
        return [
            point
            for point in self.points
            if self.then.points.get(point) != self.now.points.get(point)
        ]

    @property
    def same(self) -> bool:
        """Return whether there are points, and all of them are exactly equal."""
        return bool(self.points) and not self.differing

    @property
    def first(self) -> str:
        """Return the first difference: metric, epoch and both values; "" if there is none."""
        for point in self.differing:
            step, metric = point
            return (
                f"{format_value(metric)} at epoch {step}: "
                f"{_text(self.then.points.get(point))} -> {_text(self.now.points.get(point))}"
            )
        return ""

    @property
    def tags(self) -> dict[str, str]:
        """Return the verdict as tags of the reproduction's MLflow run."""
        if self.same:
            return {"reproduction": "same"}
        return {"reproduction": "different", "reproduction.first_difference": self.first}

    def lines(self, more: list[str]) -> list[str]:
        """Return the verdict for the user, as lines.

        more: lines with other known differences.
        """
        points = self.points
        if self.same:
            return [
                f"the same: all {len({metric for _, metric in points})} metrics, "
                f"{len(points)} points"
            ]
        counted = f"{len(self.differing)} of {len(points)} points differ"
        finals = self._finals()
        figures = (
            ["largest differences of the final metrics:", *finals]
            if finals
            else ["the final metrics are the same"]
        )
        causes = [*environment_diff(self.then, self.now), *more]
        known = ["other differences, then -> now:", *(f"  {cause}" for cause in causes)]
        nothing = ["no other difference was recorded: versions, machine and code are the same"]
        return [
            f"first difference: {self.first or 'no metric was recorded'}",
            counted,
            *figures,
            *(known if causes else nothing),
        ]

    def _finals(self) -> list[str]:
        """Return a line for each final figure that differs, largest relative difference first."""
        last = [
            {metric: account.points[step, metric] for step, metric in sorted(account.points)}
            for account in (self.then, self.now)
        ]
        pairs = {
            metric: (last[0][metric], last[1][metric]) for metric in last[0].keys() & last[1].keys()
        }
        parts = {
            metric: abs(was - now) / max(abs(was), abs(now))
            for metric, (was, now) in pairs.items()
            if was != now
        }
        largest = sorted(parts, key=lambda metric: (-parts[metric], metric))[:SHOWN]
        return [
            f"  {format_value(metric):<14} {_text(pairs[metric][0])} -> {_text(pairs[metric][1])}"
            f"   ({parts[metric]:.2g})"
            for metric in largest
        ]


def _moment(point: Point) -> tuple[int, int, str]:
    step, metric = point
    return (
        step,
        next((i for i, prefix in enumerate(ORDER) if metric.startswith(prefix)), len(ORDER)),
        metric,
    )


def _text(value: float | None) -> str:
    return "none" if value is None else repr(value)


def environment_diff(then: RunSnapshot, now: RunSnapshot) -> list[str]:
    """Return what differs in the machine, the versions, the code and the data.

    Each difference is a line, such as `torch: 2.8.0 -> 2.9.0`.
    """
    versions = sorted(key for key in {**then.tags, **now.tags} if key.startswith("version."))
    found = _changes(
        "", {key: (then.tags.get(key), now.tags.get(key)) for key in (*ORIGIN, *versions)}
    )
    named = {key.removeprefix("version.").lower() for key in versions}
    # The packages of the first run may not be known.
    others = sorted({**then.packages, **now.packages}) if then.packages else []
    packages = _changes(
        "",
        {
            name: (then.packages.get(name), now.packages.get(name))
            for name in others
            if name.lower() not in named
        },
    )
    found += packages[:SHOWN_PACKAGES]
    if len(packages) > SHOWN_PACKAGES:
        found.append(
            f"and {len(packages) - SHOWN_PACKAGES} more packages: compare {PACKAGES} of both runs"
        )
    if then.tags.get("git.dirty") == now.tags.get("git.dirty") == "true":
        found.append("git: uncommitted changes then and now, which are not recorded")
    contexts = sorted({**then.digests, **now.digests})
    return found + _changes(
        "data for ", {name: (then.digests.get(name), now.digests.get(name)) for name in contexts}
    )


def _changes(prefix: str, values: Mapping[str, tuple[str | None, str | None]]) -> list[str]:
    return [
        f"{prefix}{format_value(key.removeprefix('version.'))}: "
        f"{format_value(was or 'none')} -> {format_value(now or 'none')}"
        for key, (was, now) in values.items()
        if was != now
    ]
