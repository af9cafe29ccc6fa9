"""Read the intervals of test metrics that runs recorded."""

import contextlib
from collections.abc import Sequence

from mlflow.entities import Run

from tunebook.tags import TEST_INTERVALS
from tunebook.untrusted import parse_json


def intervals_of(runs: Sequence[Run], metric: str) -> dict[str, tuple[float, float]]:
    """Return the interval of a test metric for each run that recorded one, by the run's id."""
    found: dict[str, tuple[float, float]] = {}
    for run in runs:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            low, high = parse_json(run.data.tags[TEST_INTERVALS].encode())[metric]
            found[run.info.run_id] = (float(low), float(high))
    return found
