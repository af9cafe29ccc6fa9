"""Record a run before training, after it, and in the summary that the user sees."""

import hashlib
import json
import logging
import re
import shlex
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from omegaconf import OmegaConf

from tunebook.config.compose import default_choices, with_choices
from tunebook.config.paths import ROOT
from tunebook.config.roles import LOGGED, with_role
from tunebook.config.run_config import RunConfig, plain
from tunebook.data.preprocessing import NetworkForPixels
from tunebook.data.sources import Description
from tunebook.metrics.facts import (
    ALWAYS,
    LOSS,
    LOWER_TAG,
    TEST,
    TESTED,
    VALIDATED,
    VALIDATION,
    best_name,
    full_name,
    short_name,
    split_of,
    title_of,
    value_text,
)
from tunebook.metrics.kept import lower_is_better
from tunebook.program import call, has_scripts
from tunebook.redaction import redact, redacted
from tunebook.run_folder import BEST, LAST, PREVIOUS, RunFolder
from tunebook.runs.assemble import RunComponents
from tunebook.runs.data_place import own_images
from tunebook.runs.details import TestDetails
from tunebook.runs.pictures import save_pictures
from tunebook.runs.trial import Trial
from tunebook.tags import IMAGES
from tunebook.text_output import counted
from tunebook.tracking import describe, view
from tunebook.tracking.tracker import Status
from tunebook.training.epoch_logger import EpochLogger

log = logging.getLogger(__name__)

SHOWN_FINDINGS = 5  # about the data, when a run starts
MAX_FILE_NAME = 40  # characters
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}  # MLflow's terms


def describe_run(
    parts: RunComponents, config: RunConfig, precision: str, folder: RunFolder, trial: Trial
) -> None:
    """Record the name, the parameters and the tags of a new run.

    precision: the precision used, with "auto" resolved.
    """
    choices = {
        group: str(config.choices[group])
        for group in default_choices()
        if config.choices.get(group) and group not in ("tracking", "sweep")
    }
    settings = hyperparameters(config.settings)
    tracker = parts.tracker
    script, *arguments = config.command
    words = [word for word in arguments if not word.startswith("hydra.run.dir=")]
    tags = describe.tags(ROOT, Path(script).resolve(), words) | dict(trial.tags)
    tracker.describe(
        experiment=parts.settings["experiment_name"],
        name=trial.name or _name(config, choices, settings),
        parent=trial.parent,
        params=choices | ({"sweep": trial.option} if trial.option else {}) | settings,
        tags=tags
        | {
            "precision": precision,
            "tested_weights": parts.settings["tested_weights"],
            "folder": str(folder.path),
        }
        | _directions(parts),
    )


def _name(config: RunConfig, choices: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Return the name of a run that is not a trial, which says what differs from the defaults."""
    defaults = hyperparameters(plain(with_choices(config.choices)))
    return describe.run_name(choices, default_choices(), settings, defaults)


def _directions(parts: RunComponents) -> dict[str, str]:
    """Return a tag that names metrics of a user's own whose lowest value is best, if any."""
    lower = lower_is_better(parts.task.further_metrics)
    return {LOWER_TAG: " ".join(lower)} if lower else {}


def save_inputs(
    parts: RunComponents,
    config: RunConfig,
    digests: Mapping[str, str],
    folder: RunFolder,
    is_trial: bool,
) -> None:
    """Record the config and the data of a run that starts.

    A run that starts again after a kill records them again, since they may not have been recorded.
    digests: those of the images and labels of each split. is_trial: whether it is in a sweep.
    """
    tracker = parts.tracker
    tracker.save_text(config.text, "config/config.yaml")
    tracker.save_text(OmegaConf.to_yaml(redacted(folder.overrides)), "config/overrides.yaml")
    _log_datasets(parts, digests, is_trial)
    folder.name = tracker.run_name
    log.info("run %s  in %s", tracker.run_name, folder.path)
    asked, images = parts.settings["data"]["batch_size"], parts.data.train_size
    if asked > images:
        log.warning(
            "data.batch_size=%s is more than the %s training images, so that an epoch is one step; "
            "a smaller batch gives more steps",
            asked,
            f"{images:,}",
        )


def _log_datasets(parts: RunComponents, digests: Mapping[str, str], is_trial: bool) -> None:
    for split, context in CONTEXTS.items():
        images = parts.data.sets[split].images
        profile = json.dumps(
            {
                "images": len(images),
                "shape": list(images.shape[1:]),
                "classes": len(parts.data.contents.class_names),
            }
        )
        parts.tracker.log_dataset(
            f"{parts.data.contents.name} {split}",
            digests[split],
            profile,
            source=str(parts.data.root),
            context=context,
        )
    if description := parts.data.source.describe(Path(parts.data.root)):
        _log_own_images(parts, description, pictures=not is_trial)


def _log_own_images(parts: RunComponents, description: Description, pictures: bool) -> None:
    """Record the user's own images; a sweep's trials have them in common, and need no pictures."""
    findings = description.findings
    for sentence in findings[:SHOWN_FINDINGS]:
        log.warning("data: %s", sentence)
    if len(findings) > SHOWN_FINDINGS:
        more = len(findings) - SHOWN_FINDINGS
        log.warning("data: %s more in data/findings.txt of the run", counted(more, "finding"))
    # Tells these images from others, whatever size and split the settings give them.
    parts.tracker.set_tags({IMAGES: f"{parts.data.contents.name} {description.digest}"})
    parts.tracker.save_text(description.table, "data/split.csv")
    parts.tracker.save_text("".join(f"{one}\n" for one in findings), "data/findings.txt")
    if pictures and parts.tracker.wants_pictures:
        for number, (name, sheet) in enumerate(description.sheets):
            words = re.sub(r"[^\w-]+", "_", name)[:MAX_FILE_NAME]
            parts.tracker.save_image(sheet, f"data/classes/{number:02}_{words}.jpg")


def data_digests(parts: RunComponents) -> dict[str, str]:
    """Return a digest of the images and labels of each split.

    It is the first 16 hexadecimal digits of their SHA-256.
    """
    found: dict[str, str] = {}
    for split in CONTEXTS:
        digest = hashlib.sha256()
        parts.data.sets[split].update(digest)
        found[split] = digest.hexdigest()[:16]
    return found


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a user varies, on one level with dotted keys.

    The settings of config groups come first.
    """
    found = {
        key: value
        for key, value in with_role(_flat(settings), LOGGED).items()
        if not key.endswith("_target_")
    }
    return dict(sorted(found.items(), key=lambda item: "." not in item[0]))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return found


def record_results(
    parts: RunComponents,
    report: EpochLogger,
    figures: Mapping[str, float],
    best: Mapping[str, float],
    checkpoints: Path,
) -> None:
    """Log the final metrics, the pictures, the model and the checkpoints.

    figures: the metrics of the test; empty if there was none. best: those of the best epoch.
    """
    final = {"time/fit_s": report.fit_s, **figures}
    if parts.objective:
        final |= {
            "best/epoch": best["epoch"],
            **{
                best_name(name): value
                for name, value in best.items()
                if split_of(name) == VALIDATION
            },
        }
    parts.tracker.log_metrics(final, step=len(report.history))
    parts.tracker.save_text(describe.package_versions(), "config/requirements.txt")
    if figures and parts.tracker.wants_pictures:
        save_pictures(parts, report.history)
    if figures and parts.tracker.wants_model:
        pixels = parts.data.sets["test"].images[:2].permute(0, 2, 3, 1).contiguous()
        parts.tracker.save_model(
            NetworkForPixels(parts.data.preprocessing, parts.task.network), pixels
        )
    for name in (BEST, LAST):
        if (file := checkpoints / name).exists():
            parts.tracker.save_file(file, "checkpoints", move=True)  # MLflow keeps the only copy
    (checkpoints / PREVIOUS).unlink(missing_ok=True)


def log_summary(
    parts: RunComponents,
    figures: Mapping[str, float],
    best: Mapping[str, float],
    report: EpochLogger,
    details: TestDetails | None,
) -> None:
    """Log a summary of the run's results for the user."""
    seconds = statistics.median(epoch["time/epoch_s"] for epoch in report.history)
    chosen = [VALIDATED]
    if parts.objective and short_name(parts.objective) not in ALWAYS:
        chosen.append(parts.objective)
    judged = ", ".join(f"{title_of(name)} {value_text(name, best[name])}" for name in chosen)
    picked = f"{best['epoch']:.0f} of {len(report.history)}, {judged}"
    which = f"({parts.settings['tested_weights']} epoch's weights)"
    tested = (
        f"{value_text(TESTED, figures[TESTED])}   "
        f"{LOSS} {figures[full_name(TEST, LOSS)]:.4f}   {which}"
        if figures
        else "not tested"
    )
    further = [
        f"{title_of(name)} {value_text(name, figures[name])}"
        for name in figures
        if short_name(name) not in ALWAYS
    ]
    unpicked = f"none is selected: validation used images of the {parts.data.validate_on} set"
    lines = [
        "",
        f"{title_of(TESTED):<14} {tested}",
        *([f"               {', '.join(further)}"] if further else []),
        *(details.summary() if details else []),
        f"best epoch     {picked if parts.objective else unpicked}",
        f"time           {seconds:.1f} s per epoch (median), "
        f"{report.fit_s:.0f} s of training and validation, "
        f"{time.time() - psutil.Process().create_time():.0f} s since the process started",
    ]
    log.info("\n".join(lines))


def log_next_steps(parts: RunComponents, folder: RunFolder) -> None:
    """Log where the run is recorded and what to do next; these are the last lines of a run."""
    if not parts.tracker.run_id:
        log.info("run            %s   in %s", parts.tracker.run_name, folder.path)
        return
    evaluate = command("evaluate", f"run={parts.tracker.run_id}", folder, "tracking.uri=")
    if images := own_images(parts.settings["data"]):
        evaluate += " " + shlex.quote(f"data_root={images.partition('=')[2]}")
    lines = [
        f"MLflow run     {parts.tracker.run_name}   id {parts.tracker.run_id}",
        "",
        f"next           {_where_to_look(parts, folder)}",
        f"               {evaluate}",
    ]
    log.info("\n".join(lines))


def command(name: str, word: str, folder: RunFolder, *places: str) -> str:
    """Return a command that continues from a run.

    places: beginnings of overrides, such as `outputs=`, that are copied from the run's own.
    """
    return shlex.join(
        [
            *call(name),
            word,
            *(text for text in folder.overrides if text.startswith(places)),
        ]
    )


def _where_to_look(parts: RunComponents, folder: RunFolder) -> str:
    """Return the page of the run's experiment, or the command that serves a local store's pages."""
    uri, page = (
        redact(str(parts.settings["tracking"]["uri"])),
        view.page(str(parts.tracker.experiment_id)),
    )
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}{page}"
    given = [text for text in folder.overrides if text.startswith("tracking.uri=")]
    serve = shlex.join([*call("ui"), *given]) if given or not has_scripts() else "make ui"
    return f"{serve}   (MLflow's pages; it prints their addresses)"


def close_run(parts: RunComponents, output_dir: Path, status: Status) -> None:
    """Save train.log with the run, and end the run in the record."""
    log_file = output_dir / "train.log"
    if log_file.is_file():
        parts.tracker.save_text(log_file.read_text(errors="replace"), "log/train.log")
    parts.tracker.close(status)
