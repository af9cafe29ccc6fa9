"""Workers on this machine: a process a trial, forked from one that has imported everything, so that a crash costs one trial."""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tunebook.machine import cores
from tunebook.paths import ROOT
from tunebook.sweep.executor import NoWorkers, Worker
from tunebook.sweep.worker import Order, work
from tunebook.training import device_kind

# What a run imports on its way is most of the time of a short one.
PRELOADED = ("tunebook.sweep.worker", "tunebook.experiment.check", "mlflow.store.tracking.sqlalchemy_store", "sklearn.model_selection",
             "sqlalchemy.dialects.sqlite", "matplotlib.backends.backend_agg")  # fmt: skip


@dataclass(frozen=True)
class TrialProcess:
    """lifeline: breaks where this process ends. gpu: the only one that it sees; "": all."""

    process: BaseProcess
    lifeline: Connection
    gpu: str


class LocalExecutor:
    """count, threads: None for as many as the cores (or the GPUs) serve best."""

    def __init__(self, count: int | None, threads: int | None, trials: int, accelerator: str) -> None:
        self._gpus = gpus() if device_kind(accelerator) == "gpu" else []
        self.count = count or len(self._gpus) or min(cores(), trials)
        self.threads = threads or max(1, cores() // self.count)  # more threads than cores make every step many times slower
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
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(order, theirs, gpu), name=f"trial {order.number}")
        try:
            process.start()
        except OSError as error:
            raise NoWorkers(f"no worker can be started: {error}; no trial is lost") from error
        theirs.close()
        self._used.append(gpu)
        return Worker(order, TrialProcess(process, ours, gpu))

    def stop(self, worker: Worker, at_once: bool) -> None:
        """SIGTERM, or SIGKILL."""
        process = worker.handle.process
        if process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGKILL if at_once else signal.SIGTERM)

    def ended(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Those whose process has ended, as soon as there is one."""
        ready = wait([worker.handle.process.sentinel for worker in workers], timeout_s)
        found = [worker for worker in workers if worker.handle.process.sentinel in ready]
        for worker in found:
            trial = worker.handle
            trial.process.join()
            trial.lifeline.close()
            worker.ending = how_it_ended(trial.process.exitcode or 0)
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
