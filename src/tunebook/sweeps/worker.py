"""Run one trial in a process of its own.

The trial is a single run, which reports to the sweep's study.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import torch

from tunebook.config.compose import recompose
from tunebook.config.output import open_output, quiet
from tunebook.config.run_config import RunConfig
from tunebook.redaction import learn_words, redact, redact_output
from tunebook.run_folder import FILE as RUN_FILE
from tunebook.runs.execute import execute
from tunebook.runs.trial import Trial
from tunebook.sweeps.endings import NO_ROOM, NO_STUDY
from tunebook.sweeps.result import TrialResult, write_result
from tunebook.sweeps.storage import StudyUnavailable, is_disk_full, open_existing
from tunebook.sweeps.study import BEGUN, TrialHandle
from tunebook.tags import PRUNED_AT_EPOCH, SWEEP_NAME, SWEEP_STATE, SWEEP_TRIAL
from tunebook.task import NonFiniteLoss
from tunebook.text_output import quoted
from tunebook.training import Stopped

CONFIG = "config"  # the config that train.py composes
LOG = "worker.log"  # output that goes nowhere else, such as a crash in a library
PATIENCE_S = 15.0  # for a run to stop in, before its process is killed
MAX_ERROR = 300  # characters


@dataclass(frozen=True)
class TrialSpec:
    """Describe a trial that is to be run.

    All values are plain, since it may go to another machine.
    """

    script: str
    storage: str
    sweep: str
    trial_id: int
    number: int
    overrides: tuple[str, ...]
    folder: Path
    pruner: Mapping[str, Any] | None
    name: str  # of its MLflow run
    parent: str  # the key of the sweep's own run
    tests: bool
    threads: int
    option: str = "grid"  # the chosen option of the group `sweep`
    patience_s: float = 0.0  # how long it waits for the study's database

    def to_text(self) -> str:
        """Return the spec as JSON."""
        return json.dumps({**vars(self), "folder": str(self.folder)})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the spec that `to_text` wrote."""
        found = json.loads(text)
        return cls(
            **{**found, "overrides": tuple(found["overrides"]), "folder": Path(found["folder"])}
        )


class StudyTrial(Trial):
    """Connect a run with the study of its sweep."""

    def __init__(self, spec: TrialSpec) -> None:
        storage = open_existing(spec.storage, spec.patience_s)
        self.study = TrialHandle(storage, spec.sweep, spec.trial_id, spec.pruner)
        self.name, self.parent, self.tests = spec.name, spec.parent, spec.tests
        self.option, self.folder = spec.option, spec.folder
        self.begun = time.monotonic()
        self.study.note(**{BEGUN: time.time()})
        self.tags = {
            SWEEP_NAME: spec.sweep,
            SWEEP_TRIAL: str(spec.number),
            SWEEP_STATE: "running",
        }

    def report(self, epoch: int, value: float) -> bool:
        """Report to the study, and return whether the sweep's pruner ends the trial."""
        return self.study.report(epoch, value)

    def finish(self) -> None:
        """Write the trial's result, before the run's record is closed."""
        result = TrialResult(
            "PRUNED" if self.pruned_at_epoch else "COMPLETE", self.value, self.curve, self.figures,
            self.epochs, time.monotonic() - self.begun,
        )  # fmt: skip
        write_result(self.folder, result)

    def fail(self, error: Exception) -> None:
        """Write the result of a trial that an error ended."""
        line = redact(" ".join(f"{type(error).__name__}: {error}".split()))[:MAX_ERROR]
        seconds = time.monotonic() - self.begun
        result = TrialResult(
            "FAIL", curve=self.study.unreported, seconds=seconds, how=how_it_failed(error),
            error=line,
        )  # fmt: skip
        write_result(self.folder, result)

    def end_tags(self, status: str, error: BaseException | None) -> dict[str, str]:
        """Return tags for the state of the trial, which MLflow's status does not show."""
        if status == "FINISHED" and self.pruned_at_epoch:
            return {SWEEP_STATE: "pruned", PRUNED_AT_EPOCH: str(self.pruned_at_epoch)}
        return {
            SWEEP_STATE: {"FINISHED": "complete", "KILLED": "interrupted"}.get(status)
            or how_it_failed(error)
        }


def how_it_failed(error: BaseException | None) -> str:
    """Return how a trial failed, in one word."""
    return "diverged" if isinstance(error, NonFiniteLoss) else "failed"


def work(spec: TrialSpec, parent_pipe: Connection, gpu: str) -> None:
    """Run the trial to its end, whatever that is.

    parent_pipe: breaks where the sweep's process ends; the run is then stopped. gpu: the only GPU
    that the trial sees; "" for all.
    """
    os.setsid()  # the sweep's process passes Ctrl-C on to this one
    learn_words(spec.overrides)
    threading.Thread(target=_end_with, args=(parent_pipe,), daemon=True).start()
    try:
        _redirect_output(spec.folder / LOG)
        torch.set_num_threads(spec.threads)
        if gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        quiet()
        _train(spec, StudyTrial(spec))
    except StudyUnavailable as error:
        print(error, file=sys.stderr)
        sys.exit(NO_STUDY)
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.exit(NO_ROOM)


def _train(spec: TrialSpec, trial: StudyTrial) -> None:
    overrides = [*spec.overrides, *_places(spec.folder)]
    sys.argv = [spec.script, *overrides]  # the record's command; other devices' processes run it
    try:
        cfg = recompose(CONFIG, overrides)
        open_output(cfg)
        execute(RunConfig.of(cfg), trial)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)  # it is not over: the next start of the sweep resumes it
    except Exception as error:
        if isinstance(error, StudyUnavailable) or is_disk_full(error):
            raise
        trial.fail(error)
        sys.exit(1)


def _places(folder: Path) -> list[str]:
    """Return overrides for a run's folder, and for resuming the run where it was begun there."""
    places = [f"hydra.run.dir={quoted(str(folder))}"]
    return [*places, f"resume={quoted(str(folder))}"] if (folder / RUN_FILE).exists() else places


def _redirect_output(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    redact_output()


def _end_with(parent_pipe: Connection) -> None:
    try:
        parent_pipe.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_S)
        os._exit(1)
