"""Train, sweep, load and compare from Python, with the same results as on the command line.

Overrides are the same as well: `tunebook.train("optimizer=adam", "seed=3")`. Errors are exceptions
whose text is one line.
"""

import contextlib
import io
import logging
import math
import signal
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from tunebook.analysis.as_json import as_json
from tunebook.analysis.findings import Findings, findings
from tunebook.config.compose import compose_config
from tunebook.config.output import quiet
from tunebook.config.overrides import require_one_run
from tunebook.config.paths import IS_WHEEL, PACKAGE
from tunebook.config.roles import Role, key_of, role_of
from tunebook.config.run_config import RunConfig
from tunebook.config.validation import InputError, SettingError
from tunebook.program import FILE
from tunebook.report import requested_runs
from tunebook.report.compare import read_study, start_of
from tunebook.report.read import ComparedRuns
from tunebook.report.terminal import print_findings
from tunebook.run_folder import RunFolder
from tunebook.runs import restore
from tunebook.runs.check import check
from tunebook.runs.execute import execute, test
from tunebook.runs.images import named_images, pixels_of
from tunebook.runs.predict import Classifier
from tunebook.runs.resolve_resume import resolve_resume
from tunebook.runs.stored_run import StoredRun
from tunebook.runs.trial import Trial
from tunebook.session import interruptible, logged
from tunebook.sweeps.command import read_checked
from tunebook.sweeps.show import table
from tunebook.sweeps.start import drive, open_study
from tunebook.text_output import printable, quoted
from tunebook.tracking.arrived import run_id_of

log = logging.getLogger(__name__)

# What starts the processes of other devices: in a wheel, the command `tunebook`.
SCRIPT = str(FILE if IS_WHEEL else PACKAGE.parent / "train.py")
# Metrics that are logged once for a run, not once for an epoch.
ONCE = ("test/", "best/", "system/", "time/fit_s", "time/first_step_s")


@dataclass(frozen=True, repr=False)
class Run:
    """Hold a finished run.

    id: the id of its MLflow run; "" if it is not tracked, or has not reached MLflow yet.
    settings: its parameters in MLflow, as text.
    metrics: the last value of each. history: a row for each epoch, from 1.
    """

    id: str
    name: str
    status: str
    settings: dict[str, str]
    metrics: dict[str, float]
    history: pd.DataFrame
    source: tuple[str, ...]  # overrides that name the run to `evaluate`

    def __repr__(self) -> str:
        """Return the name, the id and the most important metrics."""
        chosen = {
            name: value
            for name, value in self.metrics.items()
            if name.startswith(("best/", "test/"))
        }
        return f"Run({self.name!r}, id={self.id!r}, {self.status}, {chosen})"

    def model(self) -> nn.Module:
        """Return the network with the weights that were tested, in evaluation mode on the CPU.

        It takes images (B, C, H, W) of 0 to 1, and returns logits (B, classes).
        """
        network: nn.Module = self._restored().parts.task.network
        return network.eval()

    def evaluate(self) -> dict[str, float]:
        """Test the run's weights again, and return the metrics."""
        with tempfile.TemporaryDirectory() as folder:
            return test(self._restored().parts, Path(folder))

    def predict(self, images: Any, invert: bool = False) -> pd.DataFrame:
        """Return a row for each image: its most probable class, and the probability of each class.

        images: a file, a folder, or a list of files, of PIL images or of arrays (H, W) or (H, W, C)
        of 0 to 255. invert: whether black and white are exchanged first. An image of a folder that
        can't be read is reported in the log, and its row has no figures. Raises InputError for
        another image that can't be read.
        """
        parts = self._restored().parts
        preprocessing = parts.data.preprocessing
        is_folder = isinstance(images, str | Path) and Path(images).is_dir()
        names, items = named_images(images)
        classifier = Classifier(parts.task.network, preprocessing, invert, torch.device("cpu"))
        class_names = list(parts.data.contents.class_names)
        classes: list[str | None] = []
        rows: list[Sequence[float]] = []
        with contextlib.closing(
            classifier.classify(items, lambda image: pixels_of(image, preprocessing))
        ) as found:
            for name, one in zip(names, found, strict=True):
                if one.problem and not is_folder:
                    raise InputError(f"images: {printable(name)}: {one.problem}")
                if one.problem:
                    log.warning("%s: %s", printable(name), one.problem)
                classes.append(class_names[one.best] if one.probabilities else None)
                rows.append(one.probabilities or [math.nan] * len(class_names))
        frame = pd.DataFrame(rows, columns=class_names, index=names)
        frame.insert(0, "class", classes)
        return frame

    @property
    def pictures(self) -> dict[str, Image.Image]:
        """Return the pictures of the run: the confusion matrix, learning curves, worst images."""
        if not self.id:
            raise InputError(f"{self.name}: is not tracked, so that there are no pictures")
        stored = StoredRun.requested(_evaluate_config(*self.source))
        found = dict[str, Image.Image]()
        with tempfile.TemporaryDirectory() as folder:
            for file in sorted(stored.download("pictures", Path(folder)).glob("*.png")):
                with Image.open(file, formats=("PNG",)) as opened:
                    found[file.stem] = opened.copy()
        return found

    def _restored(self) -> restore.Restored:
        with tempfile.TemporaryDirectory() as folder:
            return restore.restore(_evaluate_config(*self.source), Path(folder))


@dataclass(frozen=True)
class Comparison:
    """Hold the findings about some runs.

    leaderboard: a row for each configuration, the best first. sentences: the findings, the most
    useful first. warnings: what biases them. next_commands: what to run next, for a shell.
    """

    study: ComparedRuns = field(repr=False)
    found: Findings = field(repr=False)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return the findings, the most useful first."""
        return self.found.sentences

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what biases the findings."""
        return self.found.warnings

    @property
    def next_commands(self) -> tuple[str, ...]:
        """Return the commands that would answer the open questions."""
        return self.found.next_commands

    @property
    def data(self) -> dict[str, Any]:
        """Return the findings as plain values, as in findings.json."""
        return as_json(self.found)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """Return a row for each configuration, the best first."""
        rows: list[dict[str, Any]] = []
        for one in self.found.leaderboard:
            tested = one.figures(self.study.tested)
            figures = {
                "n": one.n, "median": one.median, "sd": one.sd, "half_width": one.half_width,
                self.study.tested_metric: statistics.median(tested) if tested else None,
                "seconds": one.seconds,
            }  # fmt: skip
            rows.append({**one.values, **figures})
        return pd.DataFrame(rows)

    @property
    def runs(self) -> pd.DataFrame:
        """Return a row for each run: its id, name, state, settings, objective and seconds."""
        objective = self.study.results.objective
        return pd.DataFrame(
            [
                {
                    "id": one.run_id, "name": one.name, "state": one.state, "seed": one.seed,
                    **one.values, objective: one.objective, "seconds": one.seconds,
                }
                for one in self.study.results.runs
            ]
        )  # fmt: skip

    def __str__(self) -> str:
        """Return what compare prints in a terminal."""
        text = io.StringIO()
        print_findings(self.study, self.found, text)
        return text.getvalue()


@dataclass(frozen=True)
class Sweep:
    """Hold a sweep, finished or not.

    trials: a row for each trial, with its state and its objective.
    """

    name: str
    folder: Path
    objective: str
    trials: pd.DataFrame = field(repr=False)
    best_trial: int | None
    source: tuple[str, ...] = field(repr=False)  # overrides that say where its runs are

    @property
    def best(self) -> Run:
        """Return the trial with the best objective; raise InputError if no trial is complete."""
        if self.best_trial is None:
            raise InputError(f"sweep {self.name}: no trial is complete")
        return load(str(self.folder / f"{self.best_trial:04d}"), *self.source)

    def findings(self) -> Comparison:
        """Return the findings about the sweep; raise InputError if it is not tracked."""
        known = ("tracking", "outputs")
        places = [text for text in self.source if key_of(text).partition(".")[0] in known]
        return compare(f"sweep={self.name}", *places)


def train(*overrides: str) -> Run:
    """Train and test the run that the overrides describe, and return it.

    Raises SettingError, ConfigError or InputError if it can't run, before anything is created, and
    KeyboardInterrupt after Ctrl-C; the run can then be resumed with `resume=last`.
    """
    quiet()
    cfg = compose_config("config", overrides)
    require_one_run(overrides, "call tunebook.sweep")
    if cfg.resume is not None:
        cfg = compose_config("config", resolve_resume(cfg, overrides))
    config, trial = RunConfig.of(cfg, [SCRIPT, *overrides]), Trial()
    check(config)
    if cfg.find is not None:
        raise SettingError("find", cfg.find, "is for the command line alone")
    config.folder.mkdir(parents=True, exist_ok=True)
    log_file = cfg.hydra.job_logging.handlers.file
    log_format = str(cfg.hydra.job_logging.formatters[log_file.formatter].format)
    with logged(config.folder / "train.log", log_format), interruptible():
        execute(config, trial)
    places = _places(overrides)
    if "uri" in config.settings["tracking"] and run_id_of(config.folder):
        return load(str(config.folder), *places)
    history = pd.DataFrame(trial.history).set_index("epoch")
    return Run(
        "", RunFolder.read(config.folder).name, "FINISHED", _as_texts(config), dict(trial.figures),
        history, _source(str(config.folder), places),
    )  # fmt: skip


def sweep(*overrides: str) -> Sweep:
    """Run the sweep that `train.py -m <overrides>` would run, and return it.

    The same call continues a sweep that was interrupted. Raises SettingError, ConfigError or
    InputError if it can't run, SweepStopped if it can't continue, and KeyboardInterrupt after
    Ctrl-C.
    """
    quiet()
    with logged(), interruptible():
        request, base = read_checked(overrides)
        if base.sweep.dry_run:
            raise SettingError(
                "sweep.dry_run",
                True,
                "only prints the trials; use python src/train.py -m ... instead",
            )
        outputs = Path(str(base.outputs))
        status = drive(request, base, [SCRIPT, "-m", *overrides])
    if status == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    study = open_study(request, outputs)
    header, *rows = table(study)
    trials = pd.DataFrame(rows, columns=header).set_index("trial")
    for column in trials.columns.difference(["state", "error"]):
        with contextlib.suppress(ValueError, TypeError):
            trials[column] = pd.to_numeric(trials[column].replace("", None))
    best = None if study.best is None else study.best.number
    return Sweep(
        request.name, (outputs / "sweeps" / request.name).absolute(), request.figure, trials, best,
        _places(request.fixed),
    )  # fmt: skip


def load(name: str, *overrides: str) -> Run:
    """Return an earlier run.

    name: "last", an MLflow run's id, its first characters or its name, or a run's folder.
    overrides: where the runs and the data are, such as `tracking.uri=...` or `data.root=...`.
    Raises RunNotFound, with the nearest match, if there is no such run.
    """
    cfg = _evaluate_config(*_source(name, overrides))
    stored = StoredRun.requested(cfg)
    columns = {
        metric: stored.history(metric) for metric in stored.metrics if not metric.startswith(ONCE)
    }
    history = pd.DataFrame(columns).sort_index().rename_axis("epoch")
    return Run(
        stored.run_id, stored.listed.name, stored.status, stored.settings, stored.metrics,
        history, _source(stored.run_id, overrides),
    )  # fmt: skip


def compare(*overrides: str) -> Comparison:
    """Return the findings about earlier runs.

    overrides: `sweep=last`, `runs=...` or `experiment_name=...`, as for compare.py. Raises
    SettingError or InputError if there are no such runs.
    """
    cfg = compose_config("compare", overrides)
    requested_runs.check(cfg)
    study = read_study(requested_runs.RequestedRuns.of(cfg))
    return Comparison(study, findings(study.results, start=start_of(study, overrides)))


def _evaluate_config(*overrides: str) -> DictConfig:
    """Return the settings of `evaluate`, which name a run and where it is."""
    return compose_config("evaluate", overrides)


def _source(name: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides with which `evaluate` finds a run and its data.

    overrides: as for `train`. Of those that name a location, `evaluate` has the tracking store and,
    by another name, the folder of the data.
    """
    found = [f"run={quoted(name)}"]
    for text in overrides:
        key = key_of(text)
        if key in ("data.root", "data.table"):
            found.append(f"data_root={text.partition('=')[2]}")
        elif role_of(key) != Role.LOCATION or key.partition(".")[0] == "tracking":
            found.append(text)
    return tuple(found)


def _places(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that say where runs and data are."""
    return tuple(text for text in overrides if role_of(text) == Role.LOCATION)


def _as_texts(config: RunConfig) -> dict[str, str]:
    from tunebook.runs.record import hyperparameters

    return {key: str(value) for key, value in hyperparameters(config.settings).items()}
