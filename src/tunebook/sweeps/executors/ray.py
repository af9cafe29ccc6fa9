"""Run workers on a Ray cluster, with one actor for each worker.

An actor keeps a warm process on its machine, and forks each trial from it.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebook.config.project import VARIABLE
from tunebook.config.validation import InputError, SettingError
from tunebook.redaction import redact
from tunebook.sweeps.executors.base import NoWorkers, Worker, check_addresses
from tunebook.sweeps.executors.fork_server import named_project
from tunebook.sweeps.executors.local import LocalExecutor
from tunebook.sweeps.result import TrialResult
from tunebook.sweeps.worker import TrialSpec

# Otherwise Ray sends usage statistics of each cluster to its developers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A worker without its own GPU keeps its value of CUDA_VISIBLE_DEVICES.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError

log = logging.getLogger(__name__)

SAID_AFTER_S = 15.0  # without a free worker, before this is logged
CONNECT_TIMEOUT_S = 10.0  # timeout of a first connection to a cluster's address
MAX_FAILURES = 3  # actors that never become ready, after which the sweep ends


class Host:
    """Run one trial after another as a Ray actor, each in its own process.

    folder: the driver's working directory, below which an installed wheel looks for data. project:
    the folder of the user's project, "" for none.
    """

    def __init__(self, folder: str, project: str) -> None:
        os.environ[VARIABLE] = project
        with contextlib.suppress(OSError):  # another machine may be without it
            os.chdir(folder)
        self._executor = LocalExecutor(1, 1, 1, "cpu", tests=True)
        self._worker: Worker | None = None

    def machine(self) -> str:
        """Return the name of the actor's machine."""
        return socket.gethostname()

    def run(self, spec: TrialSpec) -> tuple[str, TrialResult | None]:
        """Run a trial, and return how its process ended, and the trial's result."""
        self._worker = self._executor.start(spec)
        while not self._executor.ended([self._worker], 1.0):
            pass
        return self._worker.ending, self._worker.result

    def stop(self, at_once: bool) -> None:
        """Stop the trial that is running.

        Ray calls this in a different thread from `run`.
        """
        if self._worker is not None:
            self._executor.stop(self._worker, at_once)


@dataclass(frozen=True)
class RayTrial:
    """Hold a trial that runs on an actor.

    host: the actor's handle. answer: the Ray reference to what `Host.run` returns.
    """

    host: Any
    answer: Any


class RayExecutor:
    """Start workers on the Ray cluster at `address`.

    address: None for RAY_ADDRESS, for the cluster that runs on this machine, or for one that is
    started here for the sweep. count: None for as many as the cluster's processors (or GPUs)
    allow. threads: None for one. addresses: see make_executor.
    """

    def __init__(
        self,
        count: int | None,
        threads: int | None,
        trials: int,
        accelerator: str,
        address: str | None,
        addresses: Mapping[str, str | None],
    ) -> None:
        _join(address)
        try:
            if any(
                node["NodeManagerHostname"] != socket.gethostname()
                for node in ray.nodes()
                if node["Alive"]
            ):
                check_addresses("ray", addresses)
            resources = ray.cluster_resources()
            self.threads = threads or 1
            self._gpus = 1 if accelerator != "cpu" and resources.get("GPU", 0) >= 1 else 0
            largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
            if self.threads > largest:
                raise SettingError(
                    "sweep.threads",
                    self.threads,
                    f"must be at most {largest:.0f}: no machine of the cluster has more cores",
                )
        except BaseException:
            ray.shutdown()
            raise
        room = resources["GPU"] if self._gpus else resources.get("CPU", 1) // self.threads
        self.count = count or max(1, min(int(room), trials))
        self._free: list[Any] = []
        self._coming: dict[Any, Any] = {}  # a starting host's answer -> the host
        self._failures, self._ever, self._waits_since = 0, False, time.monotonic()

    def open(self, folder: Path) -> None:
        """Ask the cluster for all actors; each is used as soon as it is ready."""
        for _ in range(self.count):
            self._ask()

    def _ask(self) -> None:
        actor = ray.remote(
            num_cpus=self.threads, num_gpus=self._gpus, max_concurrency=2, max_restarts=0
        )(Host)
        host = actor.remote(os.getcwd(), named_project())
        self._coming[host.machine.remote()] = host

    def has_room(self, workers: Sequence[Worker]) -> bool:
        """Return whether an actor is free.

        The replacement of a lost actor becomes ready once the cluster has resources for it. Raise
        NoWorkers if no actor ever becomes ready.
        """
        ready, _ = (
            ray.wait(list(self._coming), num_returns=len(self._coming), timeout=0)
            if self._coming
            else ([], [])
        )
        for answer in ready:
            host = self._coming.pop(answer)
            try:
                log.debug("a worker on %s", ray.get(answer))
                self._free.append(host)
                self._ever = True
            except RayError as error:
                self._failures += 1
                if self._failures >= MAX_FAILURES and not self._ever:
                    raise NoWorkers(
                        f"no worker can be started on the Ray cluster: {_line(error)}; "
                        "no trial is lost"
                    ) from error
                self._ask()
        if self._free or workers:
            self._waits_since = time.monotonic()
        elif time.monotonic() - self._waits_since > SAID_AFTER_S:
            log.warning(
                "the Ray cluster has no free resources for a worker yet (%d threads, %d GPUs)",
                self.threads,
                self._gpus,
            )
            self._waits_since = time.monotonic() + 10 * SAID_AFTER_S
        return bool(self._free)

    def start(self, spec: TrialSpec) -> Worker:
        """Run the trial on a free actor, and return its worker."""
        host = self._free.pop()
        return Worker(spec, RayTrial(host, host.run.remote(spec)))

    def stop(self, worker: Worker, at_once: bool) -> None:
        """Pass the request on to the worker's actor."""
        worker.handle.host.stop.remote(at_once)

    def ended(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Return the workers whose actor has answered or is lost, as soon as there is one."""
        by_answer = {worker.handle.answer: worker for worker in workers}
        ready, _ = ray.wait(list(by_answer), num_returns=1, timeout=timeout_s)
        found = [by_answer[answer] for answer in ready]
        for worker in found:
            try:
                worker.ending, worker.result = ray.get(worker.handle.answer)
                self._free.append(worker.handle.host)
            except RayError as error:
                worker.ending, worker.is_lost = (
                    f"the loss of its machine or worker ({_line(error)})",
                    True,
                )
                self._ask()
        return found

    def close(self) -> None:
        """Disconnect from the cluster, which ends the actors.

        A cluster that was started here is shut down.
        """
        ray.shutdown()


def _join(address: str | None) -> None:
    try:
        host, _, port = (address or os.environ.get("RAY_ADDRESS", "")).rpartition(":")
        if host and port.isdigit() and "/" not in host:  # Ray itself would retry for many minutes
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"sweep.ray.address={redact(address or 'null')}: "
            f"cannot connect to a Ray cluster ({_line(error)})"
        ) from None


def _line(error: Exception) -> str:
    text = " ".join(redact(str(error)).split()) or type(error).__name__
    return text if len(text) <= 150 else text[:147] + "..."
