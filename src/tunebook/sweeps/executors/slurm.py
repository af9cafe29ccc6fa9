"""Run workers as Slurm jobs, submitted by submitit.

A job keeps a warm process, and forks one trial after another from it. The driver and a job
exchange small files in a subfolder of the sweep's folder. All machines must share that folder;
submitit needs this as well.
"""

import logging
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit

from tunebook.config.validation import SettingError
from tunebook.redaction import learn_words, redact, redact_output
from tunebook.run_folder import write_atomically
from tunebook.sweeps.executors.base import NoWorkers, Worker, check_addresses
from tunebook.sweeps.executors.fork_server import environment
from tunebook.sweeps.executors.local import LocalExecutor
from tunebook.sweeps.outside import slurm_parameters
from tunebook.sweeps.result import read_result
from tunebook.sweeps.worker import PATIENCE_S, TrialSpec

log = logging.getLogger(__name__)

# Names in a sweep's folder: the folder of the jobs, and then the files in it.
JOBS, BEAT, READY, LEAVE, LEFT = "jobs", "driver", "ready", "leave", "left"
POLL_S = 0.5
BEATS_EVERY_S, DEAD_AFTER_S = 10.0, 120.0  # a driver that is silent for so long is considered dead
MAX_FAILURES = 3  # jobs that end before they are ready, after which the sweep ends


def serve(job: Path) -> None:
    """Run the trials that the driver puts into a job's folder.

    The job ends if the driver asks it to, or if the driver is dead.
    """
    redact_output()
    executor = LocalExecutor(1, 1, 1, "cpu", tests=True)
    driver = Heartbeat(job.parent / BEAT)
    (job / READY).write_text(socket.gethostname())
    number = 0
    try:
        while driver.lives and not (job / LEAVE).exists():
            try:
                spec = _read_order(job / f"order-{number}")
            except FileNotFoundError:
                time.sleep(POLL_S)
                continue
            ending = _run(executor, spec, job, number, driver)
            write_atomically(job / f"ended-{number}", ending.encode())
            number += 1
    finally:
        (job / LEFT).touch()


def _read_order(file: Path) -> TrialSpec:
    """Return the trial of an order, whose file no longer holds the secrets that it needs."""
    text = file.read_text()
    spec = TrialSpec.from_text(text)
    learn_words([*spec.overrides, f"sweep.storage={spec.storage}"])
    write_atomically(file, redact(text).encode())
    return spec


def _run(
    executor: LocalExecutor, spec: TrialSpec, job: Path, number: int, driver: "Heartbeat"
) -> str:
    """Run the trial of an order, and return how its process ended.

    If this job ends (its time is up, or it is cancelled), the trial is stopped first.
    """
    worker = executor.start(spec)
    asked = False
    try:
        while not executor.ended([worker], POLL_S):
            if (job / f"kill-{number}").exists():
                executor.stop(worker, at_once=True)
            elif not asked and (
                (job / f"stop-{number}").exists() or (job / LEAVE).exists() or not driver.lives
            ):
                executor.stop(worker, at_once=False)
                asked = True
    except BaseException:  # submitit raises one at the end of the job's time
        executor.stop(worker, at_once=False)
        executor.ended([worker], PATIENCE_S)
        raise
    return worker.ending


@dataclass
class Heartbeat:
    """Watch whether the driver still writes to its file.

    The content of the file is compared, not its time, because the clocks of machines differ.
    """

    file: Path
    _seen: str = ""
    _since: float = field(default_factory=time.monotonic)

    @property
    def lives(self) -> bool:
        """Return whether the driver has written something new recently."""
        try:
            now = self.file.read_text()
        except OSError:
            now = self._seen
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        return time.monotonic() - self._since < DEAD_AFTER_S


@dataclass
class SlurmJob:
    """Hold a job as the driver sees it.

    orders: the number of orders that it has received.
    """

    folder: Path
    handle: Any  # submitit's object for the job
    orders: int = 0


@dataclass(frozen=True)
class JobsTrial:
    """Hold a trial that a job runs.

    number: the number of the order within the job.
    """

    job: SlurmJob
    number: int


class SlurmExecutor:
    """Start workers as Slurm jobs.

    count: the number of jobs. threads: None for one. cluster: `slurm`, or `local` for processes
    that submitit starts on this machine. timeout_min: the time limit of a job in minutes. more:
    further resources, of those that `outside` allows.
    """

    def __init__(
        self, count: int | None, threads: int | None, cluster: str, timeout_min: int,
        more: Mapping[str, Any] | None, addresses: Mapping[str, str | None],
    ) -> None:  # fmt: skip
        if count is None:
            raise SettingError(
                "sweep.workers", None, "is required with sweep.executor=slurm: the number of jobs"
            )
        if cluster == "slurm":
            if shutil.which("srun") is None:
                raise SettingError(
                    "sweep.executor",
                    "slurm",
                    "srun is not on this machine; start a Slurm sweep on a machine that has sbatch",
                )
            check_addresses("slurm", addresses)
        self.count, self.threads, self._cluster = count, threads or 1, cluster
        self._parameters = {
            "name": "tunebook",
            "timeout_min": timeout_min,
            "cpus_per_task": self.threads,
            **slurm_parameters(more),
        }
        with tempfile.TemporaryDirectory() as unused:
            self._submitter(Path(unused))
        self._free: list[SlurmJob] = []
        self._coming: list[SlurmJob] = []
        self._jobs: list[SlurmJob] = []  # all jobs that were ever submitted
        self._failures, self._ever, self._beats, self._beat_at = 0, False, 0, 0.0

    def _submitter(self, folder: Path) -> submitit.AutoExecutor:
        submitter = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
        try:
            submitter.update_parameters(**self._parameters)
        except (NameError, ValueError, TypeError, AssertionError) as error:
            reason = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            raise SettingError(
                "sweep.slurm.more", str(self._parameters), f"submitit rejects it: {reason}"
            ) from None
        return submitter

    def open(self, folder: Path) -> None:
        """End the jobs that a killed driver has left, and submit new ones.

        Each job is used as soon as it is running.
        """
        jobs = folder / JOBS
        _end_left(jobs)
        self._folder = jobs / uuid.uuid4().hex[:8]
        self._folder.mkdir(parents=True)
        self._beat()
        for _ in range(self.count):
            self._submit()

    def _submit(self) -> None:
        job = self._folder / uuid.uuid4().hex[:8]
        job.mkdir()
        try:
            with environment():
                handle = self._submitter(job / "log").submit(serve, job)
        except (RuntimeError, OSError) as error:  # its text comes from sbatch
            raise NoWorkers(
                f"Slurm accepts no job: {redact(' '.join(str(error).split()))[:150]}; "
                "no trial is lost"
            ) from error
        self._jobs.append(SlurmJob(job, handle))
        self._coming.append(self._jobs[-1])

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at > BEATS_EVERY_S:
            self._beats, self._beat_at = self._beats + 1, time.monotonic()
            write_atomically(self._folder / BEAT, str(self._beats).encode())

    def has_room(self, workers: Sequence[Worker]) -> bool:
        """Return whether a job is free.

        Raise NoWorkers if all jobs end before they are ready.
        """
        self._beat()
        for job in list(self._coming):
            if (job.folder / READY).exists():
                self._coming.remove(job)
                self._free.append(job)
                self._ever = True
            elif job.handle.done():
                self._coming.remove(job)
                self._failures += 1
                if self._failures >= MAX_FAILURES and not self._ever:
                    raise NoWorkers(
                        f"jobs end before they are ready (log: {job.folder / 'log'}); "
                        "no trial is lost"
                    )
                self._submit()
        # The time of an idle job may be up.
        for job in [job for job in self._free if job.handle.done()]:
            self._free.remove(job)
            self._submit()
        return bool(self._free)

    def start(self, spec: TrialSpec) -> Worker:
        """Hand the trial to a free job, and return its worker."""
        job = self._free.pop()
        worker = Worker(spec, JobsTrial(job, job.orders))
        write_atomically(job.folder / f"order-{job.orders}", spec.to_text().encode(), mode=0o600)
        job.orders += 1
        return worker

    def stop(self, worker: Worker, at_once: bool) -> None:
        """Create a file that the worker's job looks for; the job then stops the trial."""
        (
            worker.handle.job.folder / f"{'kill' if at_once else 'stop'}-{worker.handle.number}"
        ).touch()

    def ended(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Return the workers whose job has reported their end or is gone, as soon as there is one.

        Return an empty list after `timeout_s` seconds.
        """
        until = time.monotonic() + timeout_s
        while True:
            self._beat()
            if (
                found := [worker for worker in workers if self._has_ended(worker)]
            ) or time.monotonic() > until:
                return found
            time.sleep(min(POLL_S, timeout_s))

    def _has_ended(self, worker: Worker) -> bool:
        ending = worker.handle.job.folder / f"ended-{worker.handle.number}"
        # Checked first, so that what the job reported before it ended is found below.
        is_gone = worker.handle.job.handle.done()
        if ending.exists():
            worker.ending, worker.result = ending.read_text(), read_result(worker.spec.folder)
            self._free.append(worker.handle.job)
            return True
        if is_gone:
            worker.ending = f"the end of its job {worker.handle.job.handle.job_id}"
            worker.result, worker.is_lost = read_result(worker.spec.folder), True
            self._submit()
        return bool(is_gone)

    def close(self) -> None:
        """Ask the jobs to end, and cancel those that are still waiting in Slurm's queue."""
        for job in self._coming:
            job.handle.cancel()
        for job in self._jobs:
            (job.folder / LEAVE).touch()


def _end_left(jobs: Path) -> None:
    """Ask jobs whose driver is dead to end, and wait until they have ended.

    They may be running trials.
    """
    left_over = [
        ready.parent for ready in jobs.glob(f"*/*/{READY}") if not (ready.parent / LEFT).exists()
    ]
    if not left_over:
        return
    log.info("stopping jobs of an earlier start: %d", len(left_over))
    before = {job.parent: (job.parent / BEAT).read_text() for job in left_over}
    time.sleep(1.5 * BEATS_EVERY_S)
    # The others have a driver, which joined the sweep.
    left_over = [job for job in left_over if (job.parent / BEAT).read_text() == before[job.parent]]
    for job in left_over:
        (job / LEAVE).touch()
    until = time.monotonic() + 2 * PATIENCE_S
    while time.monotonic() < until and not all((job / LEFT).exists() for job in left_over):
        time.sleep(POLL_S)
