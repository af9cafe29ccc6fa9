"""Execute one run: train, test once, record the results and return the objective."""

import errno
import logging
import os
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from tunebook import program
from tunebook.config.run_config import RunConfig, Settings
from tunebook.config.validation import InputError, Seed, validate_value
from tunebook.data.remembered import remembering
from tunebook.machine import keep_freed_memory
from tunebook.orphans import is_first_process, naming_the_parent
from tunebook.run_folder import BEST, LAST_CHECKPOINT, RunFolder, held
from tunebook.runs import record, resume
from tunebook.runs.assemble import RunComponents, build, trainer_for
from tunebook.runs.details import TestDetails, details_of_test
from tunebook.runs.pretrained import load_pretrained
from tunebook.runs.trial import PruningCallback, Trial
from tunebook.tags import WEIGHTS
from tunebook.task import NonFiniteLoss
from tunebook.tracking import describe
from tunebook.tracking.store import folder_name
from tunebook.tracking.tracker import Status, rounded
from tunebook.training import (
    CheckpointCallback,
    GracefulShutdown,
    Stopped,
    VerifiedCheckpoints,
    precision,
)
from tunebook.training.checkpoint import load_weights
from tunebook.training.checkpoint import read as read_checkpoint
from tunebook.training.epoch_logger import EpochLogger
from tunebook.training.trainer import device_kind

log = logging.getLogger(__name__)


@dataclass
class RunContext:
    """Hold a run in this process: its objects, its folder and the checkpoint it resumes from."""

    parts: RunComponents
    output_dir: Path
    stop: GracefulShutdown
    trial: Trial = field(default_factory=Trial)
    run_metadata: dict[str, Any] = field(default_factory=dict)
    resumed: resume.Resumed | None = None

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the run's checkpoints."""
        return self.output_dir / "checkpoints"


def execute(config: RunConfig, trial: Trial | None = None) -> float | None:
    """Execute the run that `config` describes, and return the objective of its best epoch.

    The objective is a metric of the validation data. Only the first process returns it.
    trial: the run's role in a sweep, if it has one.
    Raises SettingError, InputError, Stopped and whatever training raises. The status of the MLflow
    run agrees with the outcome.
    """
    # Needed for deterministic matrix products on a GPU, before the first of them.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with remembering():
        if not is_first_process():
            return _run(config, trial)
        with held(config.folder):
            return _run(config, trial)


def _run(config: RunConfig, trial: Trial | None) -> float | None:
    settings = config.settings
    if not is_first_process():
        logging.getLogger().setLevel(logging.WARNING)  # the first process logs for all
    logging.raiseExceptions = False  # a full disk, which takes no log, must not stop the run
    keep_freed_memory()
    resumed = resume.load(settings)
    if resumed is None and settings["resume"] is not None:
        log.info("the run stopped before its first checkpoint; starting it from the beginning")
    chosen = choose_precision(settings, resumed)
    pl.seed_everything(validate_value("seed", settings["seed"], Seed), verbose=False)
    parts = build(settings | {"trainer": settings["trainer"] | {"precision": chosen.precision}})
    stop = GracefulShutdown(settings["trainer"]["max_time"])
    job = RunContext(parts, config.folder, stop, trial or Trial(), resumed=resumed)
    with job.stop.listening():
        parts.data.prepare_data()
        job.run_metadata = resume.run_metadata(parts, config, chosen.precision)
        if resumed:
            resume.apply_changes(resumed, parts, job.run_metadata)
            weights = str(resumed.run_metadata.get(resume.WEIGHTS, ""))
        else:
            weights = load_pretrained(parts.task.network)
            if weights and settings["data"]["image_size"] is None:
                height, width = parts.data.contents.image_shape[1:]
                log.info("images %d x %d, as the weights expect (data.image_size)", height, width)
        if weights:
            job.trial.require_weights(weights)
            job.run_metadata[resume.WEIGHTS] = weights
        if not is_first_process():
            fit(job)
            return None
        return _run_recorded(job, config, chosen.precision)


def _run_recorded(job: RunContext, config: RunConfig, chosen_precision: str) -> float:
    """Train and test with the run's folder and record open, and return the objective.

    Whatever happens, both are closed with the status that the run ended with.
    """
    parts = job.parts
    folder = resume.folder_of(config, parts.tracker.uri)
    folder.open()
    new = parts.tracker.open(folder)
    try:
        if new:
            record.describe_run(parts, config, chosen_precision, folder, job.trial)
        if new or not job.resumed:
            is_trial = bool(job.trial.parent)
            record.save_inputs(parts, config, job.run_metadata["data"], folder, is_trial)
            if weights := job.run_metadata.get(resume.WEIGHTS):
                parts.tracker.set_tags({WEIGHTS: weights})
        if job.resumed:
            job.resumed.log_start(parts.tracker, str(parts.settings["trainer"]["max_epochs"]))
        best = train_and_test(job)
    except Stopped as stopped:
        close(job, folder, "KILLED", stopped)
        raise
    except BaseException as error:
        # A loss that is not a number and a file that has vanished need no traceback; any other
        # error's helps to find the cause.
        explained = isinstance(error, NonFiniteLoss | InputError)
        log.error("the run failed", exc_info=not explained)
        parts.tracker.save_text(traceback.format_exc(), "log/traceback.txt")
        close(job, folder, "FAILED", error)
        raise
    close(job, folder, "FINISHED")
    record.log_next_steps(parts, folder)
    return best[parts.settings["objective"]]


def close(
    job: RunContext, folder: RunFolder, status: Status, error: BaseException | None = None
) -> None:
    """End the run in the record, then in its folder.

    A stopped run's checkpoint is saved with the record, so that another machine can resume it.
    Raises OSError if the end of a finished run can't be recorded.
    """
    if status == "KILLED" and (last := job.output_dir / LAST_CHECKPOINT).exists():
        job.parts.tracker.save_file(last, "checkpoints")
    if status == "FINISHED":
        job.trial.finish()
    if tags := job.trial.end_tags(status, error):
        job.parts.tracker.set_tags(tags)
    record.close_run(job.parts, job.output_dir, status)
    if job.parts.tracker.unwritten and status == "FINISHED":
        raise OSError(
            errno.ENOSPC,
            f"the disk is too full to record the end of the run; later: resume={folder.path}",
        )
    # After the journal: a run that is killed between the two can still be resumed.
    folder.close(status)
    if status != "FINISHED":
        word = f"resume={job.parts.tracker.run_id or folder.path}"
        log.info(
            "resume with: %s",
            record.command("train", word, folder, "tracking=", "tracking.uri=", "outputs="),
        )


def choose_precision(settings: Settings, resumed: resume.Resumed | None) -> precision.Choice:
    """Return the precision of this run, with `auto` resolved, and log it."""
    asked = settings["trainer"]["precision"]
    if asked == "auto" and resumed:
        # A new probe might choose differently.
        choice = precision.Choice(resumed.precision, "as before")
    elif asked == "auto":
        probe = build(settings)
        accelerator = device_kind(settings["trainer"]["accelerator"])
        kept = Path(settings["outputs"]) / ".precision" / folder_name(describe.cpu_name())
        choice = precision.choose(
            accelerator,
            probe.task.network,
            probe.data.contents.image_shape,
            probe.data.batch_size,
            kept,
        )
    else:
        choice = precision.Choice(asked, "as asked")
    log.info("precision %s: %s", choice.precision, choice.reason)
    return choice


def train_and_test(job: RunContext) -> dict[str, float]:
    """Train, test and record the results, and return the best epoch's metrics.

    A run that was pruned, or whose sweep does not test its trials, is not tested.
    """
    report, checkpoints = fit(job)
    trial, objective = job.trial, job.parts.settings["objective"]
    trial.epochs, trial.history = len(report.history), report.history
    if job.parts.objective is not None:
        trial.curve = {int(epoch["epoch"]): epoch[objective] for epoch in report.history}
    figures: dict[str, float] = {}
    details: TestDetails | None = None
    if trial.tests and not trial.pruned_at_epoch:
        if job.parts.settings["tested_weights"] == "best":
            load_best(job, checkpoints)
        trial.figures = figures = test(job.parts, job.output_dir)
        details = details_of_test(job.parts)
    best = best_epoch(job.parts, report.history)
    trial.value = best[objective]
    if details is not None:
        details.save(job.parts.tracker)
    record.record_results(job.parts, report, figures, best, job.checkpoints)
    record.log_summary(job.parts, figures, best, report, details)
    if checkpoints.unsaved:
        log.warning("the last checkpoint was not saved (%s)", checkpoints.unsaved)
    return best


def fit(job: RunContext) -> tuple[EpochLogger, CheckpointCallback]:
    """Train, in this process and in those that the strategy starts.

    Returns the callbacks that hold the metrics of the epochs and the checkpoints.
    """
    parts = job.parts
    report = EpochLogger(parts.log_lr)
    files = VerifiedCheckpoints(job.resumed.content if job.resumed else None)
    checkpoints = CheckpointCallback(
        job.checkpoints,
        files,
        parts.objective,
        parts.mode,
        parts.settings["checkpoint_every_s"],
        job.run_metadata,
    )
    job.stop.checkpoints = checkpoints
    give_up = PruningCallback(job.trial, parts.objective)
    if job.resumed and job.resumed.trained:
        job.resumed.restore(parts.task, report, checkpoints, give_up)
        return report, checkpoints
    trainer = trainer_for(
        parts, job.output_dir, [*parts.callbacks, report, give_up, checkpoints, job.stop], files
    )
    with naming_the_parent(), program.repeatable():
        trainer.fit(
            parts.task,
            datamodule=parts.data,
            ckpt_path=job.resumed.path if job.resumed else None,
        )
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # only the first process tests
    return report, checkpoints


def load_best(job: RunContext, checkpoints: CheckpointCallback) -> None:
    """Load the best epoch's weights into the network.

    They come from the file, or from memory if they could not be written.
    """
    content = (
        {"state_dict": checkpoints.best_weights}
        if checkpoints.best_weights
        else read_checkpoint(job.checkpoints / BEST)
    )
    load_weights(job.parts.task, content, BEST)


def best_epoch(parts: RunComponents, history: list[dict[str, float]]) -> dict[str, float]:
    """Return the metrics of the best epoch, or of the last if no epoch may be selected."""
    objective = parts.objective
    if objective is None:
        return history[-1]
    return (max if parts.mode == "max" else min)(history, key=lambda epoch: epoch[objective])


def test(parts: RunComponents, output_dir: Path) -> dict[str, float]:
    """Return the test metrics, computed on one device and rounded as they are stored."""
    trainer = trainer_for(parts, output_dir, [], VerifiedCheckpoints(), devices=1, strategy="auto")
    trainer.logger = None  # the figures are logged with the other results
    (figures,) = trainer.test(parts.task, datamodule=parts.data, verbose=False)
    return {name: rounded(value) for name, value in figures.items()}
