"""Define the interface between a sweep's driver and the executor that runs its workers.

The driver hands out trials, and learns how they and their processes ended.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tunebook.config.validation import SettingError
from tunebook.sweeps.result import TrialResult
from tunebook.sweeps.worker import TrialSpec


class NoWorkers(RuntimeError):
    """Signal that no worker can be started, or that all of them end before they start a trial.

    No trial is at fault, and none is marked as failed.
    """


@dataclass
class Worker:
    """Hold a trial that is running on this or another machine.

    handle: the executor's object for it. asked_to_stop: the time.monotonic() of that request.
    ending: how its process ended, such as SIGKILL or status 1; "" while it is running and after a
    success. result: what the trial's file says once the process has ended; None if it is not over.
    is_lost: whether its machine was lost, so that the trial is not at fault.
    """

    spec: TrialSpec
    handle: Any
    begun: float = field(default_factory=time.monotonic)
    asked_to_stop: float | None = None
    ending: str = ""
    result: TrialResult | None = None
    is_lost: bool = False

    @property
    def seconds(self) -> float:
        """Return the seconds since it started."""
        return time.monotonic() - self.begun


class Executor(Protocol):
    """Start workers, and watch them.

    count: how many run at the same time. threads: the number of threads of each.
    """

    count: int
    threads: int

    def open(self, folder: Path) -> None:
        """Prepare to start workers.

        folder: the sweep's folder.
        """

    def has_room(self, workers: Sequence[Worker]) -> bool:
        """Return whether one more worker can be started in addition to these.

        Raise NoWorkers if no worker can ever be started.
        """

    def start(self, spec: TrialSpec) -> Worker:
        """Start a worker that runs the trial, and return it."""

    def stop(self, worker: Worker, at_once: bool) -> None:
        """Ask a worker to stop at the end of its batch, or end it immediately."""

    def ended(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Return the workers that have ended, with their results, as soon as there is one.

        Return an empty list after `timeout_s` seconds.
        """

    def close(self) -> None:
        """Clean up; no more workers are started."""


def check_addresses(executor: str, addresses: Mapping[str, str | None]) -> None:
    """Raise SettingError for a database that is a file.

    A process on another machine would not find that file, or would damage it over the network.
    """
    for name, address in addresses.items():
        if address is None or address.startswith("sqlite"):
            message = (
                f"must be a server's address, not a file's: sweep.executor={executor} "
                "runs workers on other machines"
            )
            raise SettingError(name, address, message)
