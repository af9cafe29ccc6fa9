"""Keep workers busy until all trials of the study are done, whether or not they fail."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from optuna.trial import FrozenTrial, TrialState

from tunebook.config.paths import ROOT
from tunebook.config.run_config import RunConfig
from tunebook.redaction import redact
from tunebook.run_folder import RunFolder
from tunebook.runs.execute import choose_precision
from tunebook.sweeps.endings import ORPHANED, SETBACKS, Setbacks
from tunebook.sweeps.executors.base import Executor, NoWorkers, Worker
from tunebook.sweeps.parent import Parent, mark
from tunebook.sweeps.plan import SweepRecord
from tunebook.sweeps.request import Request, differences
from tunebook.sweeps.result import (
    TrialResult,
    has_open_record,
    read_result,
    remove_result,
    trial_folder,
)
from tunebook.sweeps.show import Display
from tunebook.sweeps.space import in_short
from tunebook.sweeps.storage import StudyUnavailable, open_storage, set_damaged_aside
from tunebook.sweeps.study import BEGUN, Next, SweepStudy
from tunebook.sweeps.worker import LOG as WORKER_LOG
from tunebook.sweeps.worker import PATIENCE_S, TrialSpec
from tunebook.tags import SWEEP_STATE
from tunebook.tracking import describe
from tunebook.tracking.tracker import Status
from tunebook.training.signals import handling

log = logging.getLogger(__name__)

TICK_S = 0.5
MAX_LOSSES = 3  # machines lost by one trial, after which the trial is considered at fault


@dataclass
class Driver:
    """Run a sweep: start its trials, and record how they end."""

    request: Request
    config: RunConfig  # that all trials start from
    folder: Path
    executor: Executor
    workers: list[Worker] = field(default_factory=list)
    signum: int = 0
    works: bool = False  # whether any worker has ever started a trial
    failures: int = 0  # trials that failed since this process started

    def run(self) -> int:
        """Run the sweep, and return its exit status.

        The status is 0 if every trial is done and none failed, 130 or 143 if a signal ended
        the sweep, and 1 otherwise.
        """
        self._open_study()
        self._choose_threads()
        self.fixed = self._fixed()
        self._warn_of_other_code()
        if self.request.settings["retry_failed"]:
            self.study.retry_failed()
        self.parent = Parent(
            self.request,
            self.config,
            self.folder,
            self.study,
            joins=self.request.settings["join"],
        )
        status: Status = "FAILED"
        try:
            with handling(self._handle), self._display() as self.display:
                self.executor.open(self.folder)
                self._work()
            status = "KILLED" if self.signum else "FINISHED"
        except NoWorkers:
            if not self.signum:  # a signal to the process group also ends the fork server
                raise
            status = "KILLED"
        except (StudyUnavailable, OSError):
            self._let_workers_stop()
            if not self.signum:
                raise
            status = "KILLED"
        finally:
            for worker in self.workers:
                self.executor.stop(worker, at_once=True)
            self.storage.patience_s = 0.0 if status == "FAILED" else self.storage.patience_s
            self.parent.close(self.study, status)
        return self._finish()

    def _finish(self) -> int:
        """Show how the sweep ended, and return its exit status."""
        if self.signum:
            with contextlib.suppress(StudyUnavailable):
                self.display.say_how_it_ended(self.folder)
            return 128 + self.signum
        self.display.say_how_it_ended(self.folder)
        self._conclude()
        failed = self.study.counts()[TrialState.FAIL]
        return 1 if failed or self.study.counts()[TrialState.WAITING] else 0

    def _conclude(self) -> None:
        """Let the plan of the sweep, if it has one, say what the trials have shown."""
        if self.request.plan is not None:
            tracker = self.parent.tracker
            record = SweepRecord(
                self.request.name, self.request.objective, Path(self.config.settings["outputs"]),
                tracker.address if tracker.uri else "", self.request.fixed,
            )  # fmt: skip
            self.request.plan.conclude(self.study.finished(), record)

    def _display(self) -> Display:
        return Display(
            self.study, self.executor.count, self.threads, tracks=bool(self.parent.tracker.uri)
        )

    def _open_study(self) -> None:
        """Open the study's database, or create it.

        A damaged database in the sweep's own folder is renamed.
        """
        own = self.folder / "study.db"
        self.address = self.request.settings["storage"] or f"sqlite:///{own}"
        if (
            self.request.settings["storage"] is None
            and (aside := set_damaged_aside(own)) is not None
        ):
            log.warning("the study's database was damaged, and is now %s", aside.name)
        self.patience_s = float(self.request.settings["patience_s"])
        self.setbacks = Setbacks(self.patience_s)
        self.storage = open_storage(self.address, self.patience_s)
        self.storage.gives_up = lambda: bool(self.signum)
        self.study = SweepStudy(self.request, self.storage)
        self.study.begin()
        self.study.workers = self.executor.count

    def _choose_threads(self) -> None:
        """Choose the number of threads per trial, which should be the same as before."""
        self.threads_at_first = int(self.study.remember("threads", self.executor.threads))
        self.threads = min(self.threads_at_first, self.executor.threads)
        if self.threads != self.threads_at_first:
            log.warning(
                "new trials have %d threads, not %d as before: last digits may differ",
                self.threads,
                self.threads_at_first,
            )

    def _let_workers_stop(self) -> None:
        """Ask all workers to stop, and wait some time for them to save their state."""
        for worker in self.workers:
            self.executor.stop(worker, at_once=False)
        until = time.monotonic() + PATIENCE_S
        while self.workers and time.monotonic() < until:
            for worker in self.executor.ended(self.workers, TICK_S):
                self.workers.remove(worker)

    def _warn_of_other_code(self) -> None:
        tags = describe.tags(ROOT, ROOT, [])
        now = {
            key: value
            for key, value in tags.items()
            if key == "git.commit" or key.startswith(("version.", "project"))
        }
        if changed := differences({"code": self.study.remember("code", now)}, {"code": now}):
            log.warning(
                "the code has changed since the sweep started, so trials may not be comparable: %s",
                "; ".join(changed),
            )

    def _fixed(self) -> tuple[str, ...]:
        """Return the overrides that every trial gets, with the same precision for all of them.

        A trial that probes the precision while other workers are running might choose another one.
        """
        fixed, key = self.request.fixed, "trainer.precision"
        varies = any(dimension.key == key for dimension in self.request.space.dimensions)
        if self.config.settings["trainer"]["precision"] != "auto" or varies:
            return fixed
        precision = self.study.remember(
            "precision", choose_precision(self.config.settings, None).precision
        )
        return (*fixed, f"{key}={precision}")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum:
            for worker in self.workers:
                self.executor.stop(worker, at_once=True)
            os._exit(128 + signum)
        self.signum = signum

    def _work(self) -> None:
        if self.request.settings["join"]:
            self.study.interrupted.clear()  # another driver is running them
        for trial in self.study.interrupted:
            self._wait_for_its_end(trial.number)
        while self._start_what_can() or self.workers:
            self.storage.look()
            for worker in self.executor.ended(self.workers, TICK_S) if self.workers else []:
                self.workers.remove(worker)
                self._handle_exit(worker)
            self._stop_what_should()
            self.display.update(self.workers)
            if not self.workers:
                time.sleep(0.1)  # until a worker can be started again

    def _wait_for_its_end(self, number: int) -> None:
        """Wait until the process of a trial is gone after its driver or machine was lost.

        The process notices the loss, and stops.
        """
        try:
            run = RunFolder.read(trial_folder(self.folder, number))
        except (OSError, ValueError, KeyError, TypeError):
            return
        until = time.monotonic() + 2 * PATIENCE_S
        while run.is_alive:
            time.sleep(0.1)
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(run.pid, signal.SIGKILL)
        if run.is_elsewhere and run.status == "RUNNING":
            time.sleep(PATIENCE_S)  # this machine can't see whether it is alive

    def _start_what_can(self) -> bool:
        """Start trials as long as workers can be started.

        Return whether there may be more trials for which no worker can be started now.
        """
        most = self.request.settings["max_failures"]
        while not self.signum and (most is None or self.failures <= most):
            if self.setbacks.pauses or not self.executor.has_room(self.workers):
                return True
            trial = self.study.next()
            if trial is None:
                return False
            spec = self._spec(trial)
            if trial.is_new and is_of_another(spec.folder, spec.overrides):
                self.study.pass_over(trial.number)
            elif (result := self._earlier_result(trial, spec)) is not None:
                self.study.record(trial.number, result)
            else:
                self.workers.append(self.executor.start(spec))
                self.display.began(spec)
        return False

    def _earlier_result(self, trial: Next, spec: TrialSpec) -> TrialResult | None:
        """Return the result of a trial that ended before this driver started, or None.

        Its driver was killed, or the study's database was lost since. A trial that failed is run
        again in the second case.
        """
        result = read_result(spec.folder)
        if trial.is_new and result is not None and result.state == "FAIL":
            remove_result(spec.folder)
            return None
        return result

    def _spec(self, trial: Next) -> TrialSpec:
        words = (*(word for word in self.fixed if not word.startswith("sweep")), *trial.overrides)
        return TrialSpec(
            script=str(Path(self.config.command[0]).resolve()), storage=self.address,
            sweep=self.request.name, trial_id=trial.trial_id, number=trial.number, overrides=words,
            folder=trial_folder(self.folder, trial.number), pruner=self.request.settings["pruner"],
            name=redact(f"{trial.number:03d} {in_short(trial.overrides)}"), parent=self.parent.key,
            tests=self.request.tests,
            threads=self.threads if trial.is_new else self.threads_at_first,
            option=self.request.option, patience_s=self.patience_s,
        )  # fmt: skip

    def _handle_exit(self, worker: Worker) -> None:
        """Record how a worker's trial ended.

        If the worker has left no result, it is inferred from how its process ended.
        """
        number = worker.spec.number
        if worker.result is not None:
            self.setbacks.over()
            self.works = True
            self.study.record(number, worker.result)
        elif worker.ending in SETBACKS and not self.signum:
            self.study.put_back(number)
            self.setbacks.hit(worker.ending)
            return
        else:
            self.setbacks.over()
            self._require_begun(worker)
            if self._requeued(worker):
                return
            timed_out = worker.asked_to_stop is not None and not self.signum
            if timed_out or not self.signum:
                self._record_failure(worker, timed_out)
        trial = self.study.get(number)
        self._count_failure(trial)
        self.display.ended(worker, trial)

    def _require_begun(self, worker: Worker) -> None:
        """Raise NoWorkers if no worker has ever begun a trial, and this one has not either."""
        self.works = self.works or BEGUN in self.study.get(worker.spec.number).user_attrs
        if not self.works and worker.ending and not self.signum:
            where = worker.spec.folder / WORKER_LOG
            raise NoWorkers(
                f"no worker could start a trial: its process ended with {worker.ending} "
                f"(log: {where}); no trial is lost"
            )

    def _requeued(self, worker: Worker) -> bool:
        """Let a trial resume whose process ended through no fault of the trial.

        Return whether it does. Its machine was lost, or its process was killed when all that was
        left to do was to close its record.
        """
        is_lost = worker.is_lost or worker.ending == ORPHANED
        if self.signum or not (is_lost or has_open_record(worker.spec.folder)):
            return False
        if not self.study.requeue(worker.spec.number, MAX_LOSSES):
            return False
        where = "on another worker " if is_lost else ""
        log.warning("trial %d resumes %safter %s", worker.spec.number, where, worker.ending)
        self._wait_for_its_end(worker.spec.number)
        return True

    def _count_failure(self, trial: FrozenTrial) -> None:
        most = self.request.settings["max_failures"]
        self.failures += trial.state == TrialState.FAIL
        if most is not None and trial.state == TrialState.FAIL and self.failures == most + 1:
            log.warning(
                "no more trials are started: %d have failed (sweep.max_failures)", self.failures
            )

    def _record_failure(self, worker: Worker, timed_out: bool) -> None:
        """Record the failure of a trial whose worker could not report it."""
        error = (
            f"timed out after {worker.seconds:.0f} s"
            if timed_out
            else f"its process ended with {worker.ending or 'no word'}"
        )
        how = "timed out" if timed_out else "killed"
        self.study.record(worker.spec.number, TrialResult("FAIL", how=how, error=error))
        mark(worker.spec.folder, {SWEEP_STATE: how})

    def _stop_what_should(self) -> None:
        limit = self.request.settings["trial_timeout"]
        for worker in self.workers:
            if self.signum or (limit is not None and worker.seconds > limit):
                if worker.asked_to_stop is None:
                    worker.asked_to_stop = time.monotonic()
                    self.executor.stop(worker, at_once=False)
                elif time.monotonic() - worker.asked_to_stop > PATIENCE_S:
                    self.executor.stop(worker, at_once=True)


def is_of_another(folder: Path, overrides: Sequence[str]) -> bool:
    """Return whether a new trial's folder holds another run.

    It does if the study's database was removed and created again.
    """
    try:
        recorded = RunFolder.read(folder).overrides
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return set(recorded) != {
        redact(word) for word in overrides if not word.lstrip("+~").startswith("hydra.")
    }
