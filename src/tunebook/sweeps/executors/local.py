"""Run workers on this machine, with one process for each trial.

The processes are forked from one that has imported everything. A crash affects only one trial.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from tunebook.machine import cores
from tunebook.sweeps.endings import ORPHANED
from tunebook.sweeps.executors import fork_server
from tunebook.sweeps.executors.base import NoWorkers, Worker
from tunebook.sweeps.result import read_result
from tunebook.sweeps.worker import TrialSpec, work
from tunebook.training.trainer import device_kind

MAX_STARTS = 3  # attempts to start a trial's process if the fork server is killed
UNKNOWN_STATUS = 255  # what multiprocessing reports for a process whose fork server is gone
POLL_S = 0.2  # between two checks of a process whose end is not reported
RESTART_S = 0.5  # between two attempts to start a process


@dataclass(frozen=True)
class TrialProcess:
    """Hold the process of a trial.

    parent_pipe: a pipe that breaks when this process ends. gpu: the only GPU that the trial sees;
    "" for all. watched: the process as a psutil object.
    """

    process: BaseProcess
    parent_pipe: Connection
    gpu: str
    watched: psutil.Process | None

    @property
    def is_orphan(self) -> bool:
        """Return whether it is still running although its parent, the fork server, is gone.

        The fork server would have reported its end.
        """
        if self.process.exitcode != UNKNOWN_STATUS or self.watched is None:
            return False
        try:
            return bool(self.watched.is_running() and self.watched.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


class LocalExecutor:
    """Start workers on this machine.

    count, threads: None for the number that uses the cores (or the GPUs) best. tests: whether
    trials are tested.
    """

    def __init__(
        self, count: int | None, threads: int | None, trials: int, accelerator: str, tests: bool
    ) -> None:
        self._gpus = gpus() if device_kind(accelerator) == "gpu" else []
        self.count = count or len(self._gpus) or min(cores(), trials)
        # More threads than cores make every step many times slower.
        self.threads = threads or max(1, cores() // self.count)
        self._used: list[str] = []
        self._context = fork_server.started(tests)

    def open(self, folder: Path) -> None:
        """Do nothing, because there is nothing to prepare."""

    def has_room(self, workers: Sequence[Worker]) -> bool:
        """Return whether fewer than `count` workers are running."""
        return len(workers) < self.count

    def start(self, spec: TrialSpec) -> Worker:
        """Start a process that runs the trial, and return its worker.

        If there are several GPUs, it runs on the one that the fewest workers use. Raise
        NoWorkers if no process can be started.
        """
        gpu = min(self._gpus, key=self._used.count) if len(self._gpus) > 1 else ""
        for _ in range(MAX_STARTS - 1):
            # If the fork server was killed, the next attempt starts another one.
            with contextlib.suppress(EOFError, ConnectionError):
                return self._start(spec, gpu)
            time.sleep(RESTART_S)  # until the system has noticed its end
        try:
            return self._start(spec, gpu)
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise NoWorkers(f"no worker can be started: {reason}; no trial is lost") from error

    def _start(self, spec: TrialSpec, gpu: str) -> Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(spec, theirs, gpu), name=f"trial {spec.number}"
        )
        try:
            with fork_server.environment():  # a new fork server has to find the package, too
                process.start()
            watched = psutil.Process(process.pid)
        except psutil.NoSuchProcess:
            watched = None
        except BaseException:
            ours.close()  # this stops the process, if there is one
            raise
        finally:
            theirs.close()
        self._used.append(gpu)
        return Worker(spec, TrialProcess(process, ours, gpu, watched))

    def stop(self, worker: Worker, at_once: bool) -> None:
        """Send SIGTERM to the worker's process, or SIGKILL to end it immediately."""
        trial = worker.handle
        if trial.process.pid and (trial.process.is_alive() or trial.is_orphan):
            with contextlib.suppress(ProcessLookupError):
                os.kill(trial.process.pid, signal.SIGKILL if at_once else signal.SIGTERM)

    def ended(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Return the workers whose processes have ended, as soon as there is one."""
        until = time.monotonic() + timeout_s
        while True:
            orphans = [worker for worker in workers if worker.handle.is_orphan]
            others = [worker for worker in workers if worker not in orphans]
            left = until - time.monotonic()
            wait(
                [worker.handle.process.sentinel for worker in others],
                max(0.0, min(left, POLL_S) if orphans else left),
            )
            found = [
                worker
                for worker in others
                if worker.handle.process.exitcode is not None and not worker.handle.is_orphan
            ]
            if found or time.monotonic() >= until:
                break
        for worker in found:
            trial = worker.handle
            trial.process.join()
            trial.parent_pipe.close()
            code = trial.process.exitcode or 0
            worker.ending = ORPHANED if code == UNKNOWN_STATUS else how_it_ended(code)
            worker.result = read_result(worker.spec.folder)
            self._used.remove(trial.gpu)
        return found

    def close(self) -> None:
        """Do nothing, because there is nothing to clean up."""


def how_it_ended(code: int) -> str:
    """Return a process's exit status as text, such as SIGKILL or status 1; "" for 0."""
    return "" if code == 0 else signal.Signals(-code).name if code < 0 else f"status {code}"


def gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return names[:count] if names[0] else [str(number) for number in range(count)]
