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
from optuna.trial import TrialState

from tunebook.config.compose import recompose
from tunebook.config.output import open_output, quiet
from tunebook.config.run_config import RunConfig
from tunebook.metrics.facts import TEST, best_name, split_of
from tunebook.redaction import learn_words, redact, redact_output
from tunebook.run_folder import FILE as RUN_FILE
from tunebook.runs.execute import execute
from tunebook.runs.trial import Trial
from tunebook.sweeps.endings import NO_ROOM, NO_STUDY
from tunebook.sweeps.storage import StudyUnavailable, is_disk_full, open_existing
from tunebook.sweeps.study import BEGUN, EPOCHS, ERROR, HOW, SECONDS, Result, TrialHandle
from tunebook.task import NonFiniteLoss
from tunebook.text_output import quoted
from tunebook.tracking import records
from tunebook.tracking.uploader import JOURNAL
from tunebook.training import Stopped

CONFIG = "config"  # the config that train.py composes
LOG = "worker.log"  # output that goes nowhere else, such as a crash in a library
PATIENCE_S = 15.0  # for a run to stop in, before its process is killed
MAX_ERROR = 300  # characters


@dataclass(frozen=True)
class TrialSpec:
    """Describe a trial that is to be run.

    All values are plain, since the order may go to another machine.
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
        """Return the order as JSON."""
        return json.dumps({**vars(self), "folder": str(self.folder)})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the order that `to_text` wrote."""
        found = json.loads(text)
        return cls(
            **{**found, "overrides": tuple(found["overrides"]), "folder": Path(found["folder"])}
        )


class StudyTrial(Trial):
    """Connect a run with the study of its sweep."""

    def __init__(self, order: TrialSpec) -> None:
        storage = open_existing(order.storage, order.patience_s)
        self.study = TrialHandle(storage, order.sweep, order.trial_id, order.pruner)
        self.name, self.parent, self.tests = order.name, order.parent, order.tests
        self.option = order.option
        self.study.note(**{BEGUN: time.time()})
        self.tags = {
            "sweep.name": order.sweep,
            "sweep.trial": str(order.number),
            "sweep.state": "running",
        }

    def report(self, epoch: int, value: float) -> bool:
        """Report to the study, and return whether the sweep's pruner ends the trial."""
        return self.study.report(epoch, value)

    def end_tags(self, status: str, error: BaseException | None) -> dict[str, str]:
        """Return tags for the state of the trial, which MLflow's status does not show."""
        if status == "FINISHED" and self.pruned_at_epoch:
            return {"sweep.state": "pruned", "sweep.pruned_at_epoch": str(self.pruned_at_epoch)}
        return {
            "sweep.state": {"FINISHED": "complete", "KILLED": "interrupted"}.get(status)
            or how_it_failed(error)
        }


def how_it_failed(error: BaseException | None) -> str:
    """Return how a trial failed, in one word."""
    return "diverged" if isinstance(error, NonFiniteLoss) else "failed"


def work(order: TrialSpec, parent_pipe: Connection, gpu: str) -> None:
    """Run the trial to its end, whatever that is.

    parent_pipe: breaks where the sweep's process ends; the run is then stopped. gpu: the only GPU
    that the trial sees; "" for all.
    """
    os.setsid()  # the sweep's process passes Ctrl-C on to this one
    learn_words(order.overrides)
    threading.Thread(target=_end_with, args=(parent_pipe,), daemon=True).start()
    try:
        _redirect_output(order.folder / LOG)
        torch.set_num_threads(order.threads)
        if gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        quiet()
        _train(order, StudyTrial(order))
    except StudyUnavailable as error:
        print(error, file=sys.stderr)
        sys.exit(NO_STUDY)
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.exit(NO_ROOM)


def _train(order: TrialSpec, trial: StudyTrial) -> None:
    begun = time.monotonic()
    overrides = [*order.overrides, *_places(order.folder)]
    sys.argv = [order.script, *overrides]  # the record's command; other devices' processes run it
    try:
        cfg = recompose(CONFIG, overrides)
        open_output(cfg)
        best = execute(RunConfig.of(cfg), trial) or 0.0
    except Stopped as stopped:
        sys.exit(stopped.exit_code)  # it is not over: the next start of the sweep resumes it
    except Exception as error:
        if isinstance(error, StudyUnavailable) or is_disk_full(error):
            raise
        line = redact(" ".join(f"{type(error).__name__}: {error}".split()))[:MAX_ERROR]
        trial.study.note(
            **{ERROR: line, HOW: how_it_failed(error), SECONDS: time.monotonic() - begun}
        )
        trial.study.tell(TrialState.FAIL)
        sys.exit(1)
    trial.study.note(**{SECONDS: time.monotonic() - begun, EPOCHS: trial.epochs, **trial.figures})
    trial.study.tell(TrialState.PRUNED if trial.pruned_at_epoch else TrialState.COMPLETE, best)


def result_from_journal(folder: Path, objective: str) -> Result | None:
    """Return the result that a run's journal holds, or None where the run did not end well.

    It is needed where the process was killed before it could report the result to the study.
    """
    points: dict[str, float] = {}
    curve: dict[int, float] = {}
    tags: dict[str, str] = {}
    end = None
    for record in records.read(folder / JOURNAL):
        for name, value, _, step in record.get("points", []):
            points[name] = value
            if name == objective:
                curve[int(step)] = value
        tags |= record.get("tags", {})
        end = record.get("status") if record["kind"] == "end" else None
    best = points.get(best_name(objective))
    if end != "FINISHED" or best is None:
        return None
    state = TrialState.PRUNED if tags.get("sweep.state") == "pruned" else TrialState.COMPLETE
    figures = {name: value for name, value in points.items() if split_of(name) == TEST}
    return Result(state, best, curve, figures)


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
