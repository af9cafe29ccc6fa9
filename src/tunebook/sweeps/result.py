"""Write and read the result of a trial: one file in its folder.

The process that runs a trial writes the file, and only the sweep's driver reads it. So a result is
neither lost nor recorded twice, whichever of the two is killed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from optuna.trial import TrialState
from pydantic import TypeAdapter

from tunebook.run_folder import RunFolder, write_atomically
from tunebook.untrusted import read_json_object

FILE = "result.json"


@dataclass(frozen=True)
class TrialResult:
    """Hold how a trial ended.

    state: the name of Optuna's state. value: the objective of the best epoch, or None for a trial
    that failed. curve: epoch, from 1 -> objective. figures: the test metrics. epochs: how many were
    trained. how: how it failed, in a word or two. error: one line.
    """

    state: Literal["COMPLETE", "PRUNED", "FAIL"]
    value: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    epochs: int | None = None
    seconds: float | None = None
    how: str = ""
    error: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.state == "FAIL"):
            raise ValueError("a trial has a value unless it failed")

    @property
    def trial_state(self) -> TrialState:
        """Return Optuna's state of the trial."""
        return TrialState[self.state]


def trial_folder(sweep: Path, number: int) -> Path:
    """Return a trial's own folder."""
    return sweep / f"{number:04d}"


_ADAPTER = TypeAdapter(TrialResult)


def write_result(folder: Path, result: TrialResult) -> None:
    """Write the result into a trial's folder."""
    write_atomically(folder / FILE, json.dumps(asdict(result)).encode())


def remove_result(folder: Path) -> None:
    """Remove the result of the trial in `folder`, which is to be run again."""
    (folder / FILE).unlink(missing_ok=True)


def read_result(folder: Path) -> TrialResult | None:
    """Return the result of the trial in `folder`, or None if it is not over.

    A trial whose process was killed while it closed the run's record is not over: the trial has a
    result, but the record has no end.
    """
    result = _read(folder)
    if result is None or (result.state != "FAIL" and not _is_closed(folder)):
        return None
    return result


def has_open_record(folder: Path) -> bool:
    """Return whether a trial has a result, but its process did not live to close its record."""
    result = _read(folder)
    return result is not None and result.state != "FAIL" and not _is_closed(folder)


def _read(folder: Path) -> TrialResult | None:
    try:
        return _ADAPTER.validate_python(read_json_object(folder / FILE))
    except (OSError, ValueError):  # pydantic's ValidationError is a ValueError
        return None


def _is_closed(folder: Path) -> bool:
    try:
        return RunFolder.read(folder).status == "FINISHED"
    except (OSError, ValueError, KeyError, TypeError):
        return False
