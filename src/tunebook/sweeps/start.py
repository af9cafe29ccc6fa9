"""Check every trial of a sweep, and its folder, before its driver starts."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from tunebook.config.run_config import RunConfig
from tunebook.config.validation import InputError, SettingError
from tunebook.data.remembered import remembering
from tunebook.machine import cores
from tunebook.redaction import redact
from tunebook.runs.check import check
from tunebook.sweeps.driver import Driver
from tunebook.sweeps.executors.base import Executor, NoWorkers
from tunebook.sweeps.executors.make import make_executor
from tunebook.sweeps.points import fitting
from tunebook.sweeps.preview import log_preview
from tunebook.sweeps.request import Request
from tunebook.sweeps.storage import StudyUnavailable, is_disk_full, open_storage
from tunebook.sweeps.study import SweepStudy
from tunebook.sweeps.study import check as check_study

LOCK = ".driver.lock"


class SweepStopped(RuntimeError):
    """Report that a sweep could not continue; its text is one line that says how to resume it."""

    exit_code = 1


def drive(request: Request, base: DictConfig, command: Sequence[str] | None = None) -> int:
    """Run the sweep, and return the exit status.

    Raise SettingError or InputError before anything is created, and SweepStopped if the sweep can't
    continue. base: the config that all trials start from. command: the command to record; that of
    this process if it is None.
    """
    executor = None if request.settings["dry_run"] else _executor(request, base)
    choices = {group: str(choice) for group, choice in base.hydra.runtime.choices.items()}
    with remembering():
        request = fitting(request, base, lambda cfg: check(RunConfig.of(cfg)))
    config = RunConfig.of(base, command)
    settings = config.settings
    check_study(request)
    _check_selection(request, settings)
    if executor is None:
        log_preview(
            request,
            settings,
            choices,
            int(request.settings["workers"] or min(cores(), request.trials)),
        )
        return 0
    folder = (Path(settings["outputs"]) / "sweeps" / request.name).absolute()
    try:
        with _exclusive_lock(folder, request):
            return Driver(request, config, folder, executor).run()
    except NoWorkers as error:
        raise SweepStopped(str(error)) from None
    except StudyUnavailable as error:
        raise SweepStopped(
            f"{error}; no trial is lost: the same command resumes the sweep"
        ) from None
    except OSError as error:
        if not is_disk_full(error):
            raise
        where = error.filename or folder
        raise SweepStopped(
            f"the disk is full ({where}); no trial is lost: the same command resumes the sweep"
        ) from None
    finally:
        executor.close()


def _check_selection(request: Request, settings: dict[str, Any]) -> None:
    """Raise SettingError or InputError if trials would be chosen by metrics that must not choose.

    settings: of the run that all trials start from.
    """
    if not request.is_grid and (used := settings["data"]["validate_on"]) != "split":
        raise SettingError(
            "data.validate_on", used, f"a search would select by {used} metrics; allowed: split"
        )
    if request.plan is not None:
        request.plan.check(settings)


def open_study(request: Request, outputs: Path) -> SweepStudy:
    """Return the study of a sweep that has started.

    outputs: the folder that contains all run folders.
    """
    own = outputs.absolute() / "sweeps" / request.name / "study.db"
    return SweepStudy(request, open_storage(request.settings["storage"] or f"sqlite:///{own}"))


def _executor(request: Request, base: DictConfig) -> Executor:
    addresses = {"sweep.storage": request.settings["storage"]}
    if "uri" in base.tracking:
        addresses["tracking.uri"] = str(base.tracking.uri)
        # MLflow and Optuna would each mistake the other's schema for an old version of its own.
        if addresses["sweep.storage"] == addresses["tracking.uri"]:
            message = (
                "must be a different database from tracking.uri: MLflow and Optuna can't share one"
            )
            raise SettingError("sweep.storage", redact(str(base.tracking.uri)), message)
    return make_executor(request.settings, request.trials, str(base.trainer.accelerator), addresses)


@contextlib.contextmanager
def _exclusive_lock(folder: Path, request: Request) -> Iterator[None]:
    """Allow only one driver for the sweep within the block, except for those that join it.

    Raise InputError if another driver is running, or if there is no sweep to join.
    """
    if request.settings["join"]:
        if not folder.is_dir() and request.settings["storage"] is None:
            raise InputError(
                f"sweep.join=true: there is no sweep {request.name} in {folder.parent}"
            )
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        message = (
            "is already running; to add workers to it: "
            f"the same command with sweep.join=true (sweep.name='{request.name}')"
        )
        raise InputError(f"sweep {request.name}: {message}") from None
    with lock:
        yield
