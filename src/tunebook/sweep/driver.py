"""`-m`: many runs. Checks every trial, then keeps workers busy until the study has all of them, whatever becomes of each."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, open_dict
from optuna.trial import TrialState
from tqdm import tqdm

from tunebook.checks import InputError, SettingError
from tunebook.commandline.entry import fail
from tunebook.experiment.assembly import build, plain
from tunebook.experiment.check import check
from tunebook.experiment.run import choose_precision
from tunebook.paths import ROOT
from tunebook.recovery.signals import handling
from tunebook.runfolder import RunFolder
from tunebook.secrets import RedactingFormatter, redact
from tunebook.sweep.executor import Executor, NoWorkers, Worker, make_executor
from tunebook.sweep.local import cores
from tunebook.sweep.parent import Parent, mark
from tunebook.sweep.request import Request, differences
from tunebook.sweep.show import Display, say_what_would_run
from tunebook.sweep.space import in_short
from tunebook.sweep.study import BEGUN, Next, Study, open_storage
from tunebook.sweep.study import check as check_study
from tunebook.sweep.worker import LOG as WORKER_LOG
from tunebook.sweep.worker import PATIENCE_S, Order, told
from tunebook.tracking import describe
from tunebook.tracking.tracker import Status

log = logging.getLogger(__name__)

TICK_S = 0.5
MANY = 50  # trials whose check takes a second or more
LOCK = ".driver.lock"
MOST_LOSSES = 3  # of the machines that a trial was on, after which it is held to be at fault


def drive(request: Request, base: DictConfig, configs: Sequence[tuple[DictConfig, list[str]]]) -> int:
    """Runs the sweep. The exit status. SettingError, InputError before anything is made.

    base: what all trials start from; configs: those that are checked, with the words that make them.
    """
    _log_to_terminal()
    executor = None if request.settings["dry_run"] else _executor(request, base)
    choices = {group: str(choice) for group, choice in base.hydra.runtime.choices.items()}
    for cfg, words in tqdm(configs, "checking", leave=False, disable=None if len(configs) > MANY else True):
        _check(cfg, words)
    with open_dict(base):
        del base["hydra"]
    settings = plain(base)
    check_study(request)
    if not request.is_grid and (used := build(settings).data.validate_on) != "split":
        raise SettingError("data.validate_on", used, f"a search would choose by {used} figures; allowed: split")
    if executor is None:
        say_what_would_run(request, settings, choices, int(request.settings["workers"] or min(cores(), request.trials)))
        return 0
    folder = (Path(settings["outputs"]) / "sweeps" / request.name).absolute()
    with _alone(folder, request):
        try:
            return Driver(request, settings, folder, executor).run()
        except NoWorkers as error:
            fail(str(error), 1)
        finally:
            executor.close()


def _executor(request: Request, base: DictConfig) -> Executor:
    addresses = {"sweep.storage": request.settings["storage"]}
    if "uri" in base.tracking:
        addresses["tracking.uri"] = str(base.tracking.uri)
        if addresses["sweep.storage"] == addresses["tracking.uri"]:  # each would take the other's schema for an old one of its own
            message = "must be another database than tracking.uri: MLflow and Optuna can't share one"
            raise SettingError("sweep.storage", redact(str(base.tracking.uri)), message)
    return make_executor(request.settings, request.trials, str(base.trainer.accelerator), addresses)


def _log_to_terminal() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _check(cfg: DictConfig, words: Sequence[str]) -> None:
    """A trial's config, checked like a single run's. What is wrong with it is said with its settings."""
    choices = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    try:
        check(cfg, choices)
    except SettingError as error:
        raise InputError(f"{error} (in the trial {' '.join(words)})") from None


@contextlib.contextmanager
def _alone(folder: Path, request: Request) -> Iterator[None]:
    """One driver a sweep, but for those that join it. What it makes and what it is told ends here."""
    if request.settings["join"]:
        if not folder.is_dir() and request.settings["storage"] is None:
            raise InputError(f"sweep.join=true: there is no sweep {request.name} in {folder.parent}")
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        message = f"is at work already; to add workers to it: the same command with sweep.join=true (sweep.name='{request.name}')"
        raise InputError(f"sweep {request.name}: {message}") from None
    with lock:
        yield


@dataclass
class Driver:
    """The sweep at work."""

    request: Request
    settings: dict[str, Any]
    folder: Path
    executor: Executor
    workers: list[Worker] = field(default_factory=list)
    signum: int = 0
    works: bool = False  # whether a worker has ever taken up a trial
    failures: int = 0  # of trials that ended since this process began

    def run(self) -> int:
        """The exit status: 0 where every trial is done and none failed; 130, 143 where a signal ended it; else 1."""
        storage = self.request.settings["storage"] or f"sqlite:///{self.folder}/study.db"
        self.storage = storage
        self.study = Study(self.request, open_storage(storage))
        self.study.begin()
        self.threads_at_first = int(self.study.remember("threads", self.executor.threads))
        self.threads = min(self.threads_at_first, self.executor.threads)
        if self.threads != self.threads_at_first:
            log.warning("new trials have %d threads, not %d as before: last digits may differ", self.threads, self.threads_at_first)
        self.fixed = self._fixed()
        self._warn_of_other_code()
        if self.request.settings["retry_failed"]:
            self.study.retry_failed()
        self.parent = Parent(self.request, self.settings, self.folder, self.study, joins=self.request.settings["join"])
        status: Status = "FAILED"
        try:
            with handling(self._handle), Display(self.study, self.executor.count, self.threads) as self.display:
                self.executor.open(self.folder)
                self._work()
            status = "KILLED" if self.signum else "FINISHED"
        finally:
            for worker in self.workers:
                self.executor.stop(worker, at_once=True)
            self.parent.close(self.study, status)
        self.display.say_how_it_ended(self.folder)
        if self.signum:
            return 128 + self.signum
        failed = self.study.counts()[TrialState.FAIL]
        return 1 if failed or self.study.counts()[TrialState.WAITING] else 0

    def _warn_of_other_code(self) -> None:
        tags = describe.tags(ROOT, ROOT, [])
        now = {key: value for key, value in tags.items() if key == "git.commit" or key.startswith("version.")}
        if changed := differences({"code": self.study.remember("code", now)}, {"code": now}):
            log.warning("goes on with other code than it began with, so that trials may not be comparable: %s", "; ".join(changed))

    def _fixed(self) -> tuple[str, ...]:
        """What every trial is given: one precision for all, which no probe beside other workers would find."""
        fixed, key = self.request.fixed, "trainer.precision"
        varies = any(dimension.key == key for dimension in self.request.space.dimensions)
        if self.settings["trainer"]["precision"] != "auto" or varies:
            return fixed
        precision = self.study.remember("precision", choose_precision(self.settings, None).precision)
        return (*fixed, f"{key}={precision}")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum:
            for worker in self.workers:
                self.executor.stop(worker, at_once=True)
            os._exit(128 + signum)
        self.signum = signum

    def _work(self) -> None:
        if self.request.settings["join"]:
            self.study.interrupted.clear()  # another driver's, at work
        for trial in self.study.interrupted:
            self._wait_for_its_end(trial.number)
        while self._start_what_can() or self.workers:
            for worker in self.executor.ended(self.workers, TICK_S) if self.workers else []:
                self.workers.remove(worker)
                self._settle(worker)
            self._stop_what_should()
            self.display.update(self.workers)
            if not self.workers:
                time.sleep(0.1)  # until there is room again

    def _wait_for_its_end(self, number: int) -> None:
        """Until the process of a trial is gone whose driver or machine is: it notices that, and stops."""
        try:
            run = RunFolder.read(folder_of(self.folder, number))
        except (OSError, ValueError, KeyError, TypeError):
            return
        until = time.monotonic() + 2 * PATIENCE_S
        while run.is_alive:
            time.sleep(0.1)
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(run.pid, signal.SIGKILL)
        if run.is_elsewhere and run.status == "RUNNING":
            time.sleep(PATIENCE_S)  # whether it lives can't be seen from here

    def _start_what_can(self) -> bool:
        """Starts trials while there is room. Whether there may be more, for which there is none."""
        most = self.request.settings["max_failures"]
        while not self.signum and (most is None or self.failures <= most):
            if not self.executor.has_room(self.workers):
                return True
            trial = self.study.next()
            if trial is None:
                return False
            if trial.is_new or not self._was_done(trial.number, trial.trial_id):
                self._start(trial)
        return False

    def _was_done(self, number: int, trial_id: int) -> bool:
        """Puts down a trial that was done, and whose process was killed before it could say so."""
        found = told(folder_of(self.folder, number), self.request.objective)
        if found is not None:
            self.study.complete(trial_id, *found)
        return found is not None

    def _start(self, trial: Next) -> None:
        words = (*(word for word in self.fixed if not word.startswith("sweep")), *trial.overrides)
        order = Order(
            script=str(Path(sys.argv[0]).resolve()), storage=self.storage, sweep=self.request.name, trial_id=trial.trial_id,
            number=trial.number, overrides=words, folder=folder_of(self.folder, trial.number), pruner=self.request.settings["pruner"],
            name=redact(f"{trial.number:03d} {in_short(trial.overrides)}"), parent=self.parent.key,
            tests=self.request.tests, threads=self.threads if trial.is_new else self.threads_at_first,
        )  # fmt: skip
        self.workers.append(self.executor.start(order))
        self.display.began(order)

    def _settle(self, worker: Worker) -> None:
        """What became of the trial; where its worker could not say so, from how its process ended."""
        trial = self.study.study._storage.get_trial(worker.order.trial_id)
        if not trial.state.is_finished() and self._was_done(trial.number, worker.order.trial_id):
            trial = self.study.study._storage.get_trial(worker.order.trial_id)
        self.works = self.works or BEGUN in trial.user_attrs
        if not self.works and worker.ending and not self.signum:
            where = worker.order.folder / WORKER_LOG
            raise NoWorkers(f"no worker takes up a trial: its process ended with {worker.ending} (log: {where}); no trial is lost")
        if worker.is_lost and not trial.state.is_finished() and not self.signum and self.study.take_back(trial, MOST_LOSSES):
            log.warning("trial %d goes on elsewhere after %s", trial.number, worker.ending)
            self._wait_for_its_end(trial.number)
            return
        timed_out = worker.asked_to_stop is not None and not self.signum
        if not trial.state.is_finished() and (timed_out or not self.signum):
            error = f"timed out after {worker.seconds:.0f} s" if timed_out else f"its process ended with {worker.ending or 'no word'}"
            how = "timed out" if timed_out else "killed"
            self.study.end(worker.order.trial_id, TrialState.FAIL, how, error)
            mark(worker.order.folder, {"sweep.state": how})
            trial = self.study.study._storage.get_trial(worker.order.trial_id)
        self.failures += trial.state == TrialState.FAIL
        if self.failures == (self.request.settings["max_failures"] or 0) + 1 and self.request.settings["max_failures"] is not None:
            log.warning("no more trials are started: %d have failed (sweep.max_failures)", self.failures)
        self.display.ended(worker, trial)

    def _stop_what_should(self) -> None:
        limit = self.request.settings["trial_timeout"]
        for worker in self.workers:
            if self.signum or (limit is not None and worker.seconds > limit):
                if worker.asked_to_stop is None:
                    worker.asked_to_stop = time.monotonic()
                    self.executor.stop(worker, at_once=False)
                elif time.monotonic() - worker.asked_to_stop > PATIENCE_S:
                    self.executor.stop(worker, at_once=True)


def folder_of(sweep: Path, number: int) -> Path:
    """A trial's own folder."""
    return sweep / f"{number:04d}"
