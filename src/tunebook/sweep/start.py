"""Check every trial of a sweep, and its folder, before its driver starts."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, open_dict

from tunebook.checks import InputError, SettingError
from tunebook.commandline.entry import fail
from tunebook.experiment.assembly import build, plain
from tunebook.experiment.check import check
from tunebook.machine import cores
from tunebook.secrets import redact
from tunebook.sweep.driver import Driver
from tunebook.sweep.executors.base import Executor, NoWorkers
from tunebook.sweep.executors.make import make_executor
from tunebook.sweep.points import fitting
from tunebook.sweep.preview import say_what_would_run
from tunebook.sweep.request import Request
from tunebook.sweep.storage import StudyUnavailable, is_disk_full
from tunebook.sweep.study import check as check_study

LOCK = ".driver.lock"


def drive(request: Request, base: DictConfig) -> int:
    """Run the sweep, and return the exit status.

    Raise SettingError or InputError before anything is created. base: the config that all trials
    start from.
    """
    executor = None if request.settings["dry_run"] else _executor(request, base)
    choices = {group: str(choice) for group, choice in base.hydra.runtime.choices.items()}
    request = fitting(request, base, _check)
    with open_dict(base):
        del base["hydra"]
    settings = plain(base)
    check_study(request)
    if not request.is_grid and (used := build(settings).data.validate_on) != "split":
        raise SettingError(
            "data.validate_on", used, f"a search would choose by {used} figures; allowed: split"
        )
    if executor is None:
        say_what_would_run(
            request,
            settings,
            choices,
            int(request.settings["workers"] or min(cores(), request.trials)),
        )
        return 0
    folder = (Path(settings["outputs"]) / "sweeps" / request.name).absolute()
    try:
        with _exclusive_lock(folder, request):
            return Driver(request, settings, folder, executor).run()
    except NoWorkers as error:
        fail(str(error), 1)
    except StudyUnavailable as error:
        fail(f"{error}; no trial is lost: the same command goes on", 1)
    except OSError as error:
        if not is_disk_full(error):
            raise
        fail(
            f"the disk is full ({error.filename or folder}); "
            "no trial is lost: the same command goes on",
            1,
        )
    finally:
        executor.close()


def _executor(request: Request, base: DictConfig) -> Executor:
    addresses = {"sweep.storage": request.settings["storage"]}
    if "uri" in base.tracking:
        addresses["tracking.uri"] = str(base.tracking.uri)
        # MLflow and Optuna would each mistake the other's schema for an old version of its own.
        if addresses["sweep.storage"] == addresses["tracking.uri"]:
            message = (
                "must be another database than tracking.uri: MLflow and Optuna can't share one"
            )
            raise SettingError("sweep.storage", redact(str(base.tracking.uri)), message)
    return make_executor(request.settings, request.trials, str(base.trainer.accelerator), addresses)


def _check(cfg: DictConfig) -> None:
    """Check the config of a trial like that of a single run."""
    choices = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    check(cfg, choices)


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
            "is at work already; to add workers to it: "
            f"the same command with sweep.join=true (sweep.name='{request.name}')"
        )
        raise InputError(f"sweep {request.name}: {message}") from None
    with lock:
        yield
