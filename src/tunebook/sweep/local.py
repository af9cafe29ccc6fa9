"""Workers on this machine: a process a trial, forked from one that has imported everything, so that a crash costs one trial."""

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tunebook.paths import ROOT
from tunebook.sweep.worker import PATIENCE_S, Order, work

# What a run imports on its way is most of the time of a short one.
PRELOADED = ("tunebook.sweep.worker", "tunebook.experiment.check", "mlflow.store.tracking.sqlalchemy_store", "sklearn.model_selection",
             "sqlalchemy.dialects.sqlite", "matplotlib.backends.backend_agg")  # fmt: skip


@dataclass
class Worker:
    """A process at work on a trial."""

    order: Order
    process: BaseProcess
    lifeline: Connection
    begun: float
    asked_to_stop: float | None = None

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun

    def stop(self) -> None:
        """Asks it to stop at its batch's end; where it was asked long ago, ends it."""
        now = time.monotonic()
        if self.asked_to_stop is None:
            self.asked_to_stop = now
            self._signal(signal.SIGTERM)
        elif now - self.asked_to_stop > PATIENCE_S:
            self.kill()

    def kill(self) -> None:
        """Ends it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        if self.process.pid and self.process.is_alive():
            os.kill(self.process.pid, signum)


class LocalExecutor:
    """Starts workers here."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), before]))  # the server's own process looks there
        try:
            multiprocessing.forkserver.ensure_running()  # it imports while this process checks the trials
        finally:
            os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)

    def start(self, order: Order) -> Worker:
        """A process that runs the trial."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(order, theirs), name=f"trial {order.number}")
        process.start()
        theirs.close()
        return Worker(order, process, ours, time.monotonic())

    def ended(self, workers: list[Worker], timeout_s: float) -> list[Worker]:
        """Those whose process has ended, as soon as there is one."""
        ready = wait([worker.process.sentinel for worker in workers], timeout_s)
        found = [worker for worker in workers if worker.process.sentinel in ready]
        for worker in found:
            worker.process.join()
            worker.lifeline.close()
        return found


def cores() -> int:
    """Processor cores that this process may use: hyperthreads share one."""
    import psutil

    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(there, psutil.cpu_count(logical=False) or there))


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return names[:count] if names[0] else [str(number) for number in range(count)]


def folder_of(sweep: Path, number: int) -> Path:
    """A trial's own folder."""
    return sweep / f"{number:04d}"
