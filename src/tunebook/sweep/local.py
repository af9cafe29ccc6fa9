"""Workers on this machine: a process a trial, forked from one that has imported everything, so that a crash costs one trial."""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from tunebook.machine import cores
from tunebook.paths import ROOT
from tunebook.sweep.endings import ORPHANED
from tunebook.sweep.executor import NoWorkers, Worker
from tunebook.sweep.worker import Order, work
from tunebook.training import device_kind

# What a run imports on its way is most of the time of a short one.
PRELOADED = ("tunebook.sweep.worker", "tunebook.experiment.check", "mlflow.store.tracking.sqlalchemy_store", "sklearn.model_selection",
             "sqlalchemy.dialects.sqlite", "matplotlib.backends.backend_agg")  # fmt: skip

MAX_STARTS = 3  # of a trial's process, where the fork server is killed meanwhile
UNKNOWN_STATUS = 255  # what multiprocessing says of a process whose fork server is gone
POLL_S = 0.2  # between looks at a process of which nobody tells
RESTART_S = 0.5  # between two starts


@dataclass(frozen=True)
class TrialProcess:
    """lifeline: breaks where this process ends. gpu: the only one that it sees; "": all. watched: the process as the system knows it."""

    process: BaseProcess
    lifeline: Connection
    gpu: str
    watched: psutil.Process | None

    @property
    def is_orphan(self) -> bool:
        """Whether it lives though the fork server, which would tell of its end, is gone."""
        if self.process.exitcode != UNKNOWN_STATUS or self.watched is None:
            return False
        try:
            return bool(self.watched.is_running() and self.watched.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


class LocalExecutor:
    """count, threads: None for as many as the cores (or the GPUs) serve best."""

    def __init__(
        self, count: int | None, threads: int | None, trials: int, accelerator: str
    ) -> None:
        self._gpus = gpus() if device_kind(accelerator) == "gpu" else []
        self.count = count or len(self._gpus) or min(cores(), trials)
        self.threads = threads or max(
            1, cores() // self.count
        )  # more threads than cores make every step many times slower
        self._used: list[str] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        with importable():
            multiprocessing.forkserver.ensure_running()  # it imports while this process checks the trials

    def open(self, folder: Path) -> None:
        """There is nothing to get ready."""

    def has_room(self, workers: Sequence[Worker]) -> bool:
        """Whether fewer than `count` are at work."""
        return len(workers) < self.count

    def start(self, order: Order) -> Worker:
        """A process that runs the trial, on the GPU that fewest use where there are several."""
        gpu = min(self._gpus, key=self._used.count) if len(self._gpus) > 1 else ""
        for _ in range(MAX_STARTS - 1):
            with contextlib.suppress(
                EOFError, ConnectionError
            ):  # the fork server was killed: the next start makes another
                return self._start(order, gpu)
            time.sleep(RESTART_S)  # until the system has taken note of its end
        try:
            return self._start(order, gpu)
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise NoWorkers(f"no worker can be started: {reason}; no trial is lost") from error

    def _start(self, order: Order, gpu: str) -> Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(order, theirs, gpu), name=f"trial {order.number}"
        )
        try:
            with importable():  # a fork server that is made anew has to find the package as well
                process.start()
            watched = psutil.Process(process.pid)
        except psutil.NoSuchProcess:
            watched = None
        except BaseException:
            ours.close()  # which stops the process, where there is one
            raise
        finally:
            theirs.close()
        self._used.append(gpu)
        return Worker(order, TrialProcess(process, ours, gpu, watched))

    def stop(self, worker: Worker, at_once: bool) -> None:
        """SIGTERM, or SIGKILL."""
        trial = worker.handle
        if trial.process.pid and (trial.process.is_alive() or trial.is_orphan):
            with contextlib.suppress(ProcessLookupError):
                os.kill(trial.process.pid, signal.SIGKILL if at_once else signal.SIGTERM)

    def ended(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Those whose process has ended, as soon as there is one."""
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
            trial.lifeline.close()
            code = trial.process.exitcode or 0
            worker.ending = ORPHANED if code == UNKNOWN_STATUS else how_it_ended(code)
            self._used.remove(trial.gpu)
        return found

    def close(self) -> None:
        """There is nothing to give back."""


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Processes that are started meanwhile find this package, whatever script started this one."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), before]))
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def how_it_ended(code: int) -> str:
    """A process's exit status in a word; "" for 0."""
    return "" if code == 0 else signal.Signals(-code).name if code < 0 else f"status {code}"


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return names[:count] if names[0] else [str(number) for number in range(count)]
