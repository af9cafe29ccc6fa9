"""Where a sweep's workers live. The driver hands out trials and hears how their processes ended; the study says the rest."""

import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tunebook.checks import InputError, SettingError
from tunebook.sweep.worker import Order


class NoWorkers(RuntimeError):
    """None can be started, or all end before they take up a trial: no trial is at fault, and none is spent on finding out."""


@dataclass
class Worker:
    """A trial at work, on whatever machine.

    handle: what its executor knows it by. asked_to_stop: time.monotonic() of it. ending: how its process ended, once it has: "" for well,
    else SIGKILL, status 1, ... is_lost: whether it ended with the machine that it was on, for which the trial is not at fault.
    """

    order: Order
    handle: Any
    begun: float = field(default_factory=time.monotonic)
    asked_to_stop: float | None = None
    ending: str = ""
    is_lost: bool = False

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun


class Executor(Protocol):
    """Starts workers. count: how many at a time; threads: of each."""

    count: int
    threads: int

    def open(self, folder: Path) -> None:
        """Gets ready to start some. folder: the sweep's own."""

    def has_room(self, workers: Sequence[Worker]) -> bool:
        """Whether one more can be started beside these. NoWorkers where none ever could."""

    def start(self, order: Order) -> Worker:
        """A worker that runs the trial."""

    def stop(self, worker: Worker, at_once: bool) -> None:
        """Asks it to stop at its batch's end, or ends it."""

    def ended(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Those that have ended, as soon as there is one."""

    def close(self) -> None:
        """No more are started."""


def make_executor(
    settings: Mapping[str, Any], trials: int, accelerator: str, addresses: Mapping[str, str | None]
) -> Executor:
    """The one that `sweep.executor` names. InputError, SettingError where it can't be used; nothing is made yet.

    settings: of the group `sweep`; trials: how many there are to run at most; accelerator: as `trainer` has it; addresses: of the
    databases that workers write to, by the name of their setting.
    """
    kind = settings["executor"]
    if kind == "local":
        from tunebook.sweep.local import LocalExecutor

        return LocalExecutor(settings["workers"], settings["threads"], trials, accelerator)
    own = settings[kind]
    if kind == "ray":
        require("ray", "ray")
        from tunebook.sweep.ray_cluster import RayExecutor

        return RayExecutor(
            settings["workers"], settings["threads"], trials, accelerator, own["address"], addresses
        )
    require("submitit", "slurm")
    from tunebook.sweep.slurm import SlurmExecutor

    return SlurmExecutor(settings["workers"], settings["threads"], addresses=addresses, **own)


def require(package: str, extra: str) -> None:
    """InputError that names the extra where an optional package is not installed."""
    try:
        importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"sweep.executor={extra}: needs the package {package}, which is an extra: pip install '.[{extra}]'"
        ) from None


def check_addresses(executor: str, addresses: Mapping[str, str | None]) -> None:
    """SettingError for a database that is a file: a process on another machine would find none there, or break it over a network."""
    for name, address in addresses.items():
        if address is None or address.startswith("sqlite"):
            message = f"must be a server's address where workers are on other machines (sweep.executor={executor}), not a file's"
            raise SettingError(name, address, message)
