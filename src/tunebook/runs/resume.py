"""Load the checkpoint of a run to resume, and check that it is still the same run.

If the user allows changes, the checkpoint is adapted to them.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback

from tunebook.config.added_settings import with_added_params
from tunebook.config.run_config import RunConfig, Settings
from tunebook.config.validation import InputError, format_value, validate_value
from tunebook.redaction import redacted
from tunebook.run_folder import BEST, LAST, RunFolder
from tunebook.runs import fetch_external
from tunebook.runs.assemble import RunComponents, build
from tunebook.runs.compatibility import require_fit
from tunebook.runs.record import data_digests, hyperparameters
from tunebook.runs.resolve_resume import has_checkpoint, is_record_lost, moved_checkpoints
from tunebook.runs.resume_changes import adapt_checkpoint, history
from tunebook.runs.stored_run import StoredRun
from tunebook.tags import PROJECT_CODE, RESUMED_CHANGES, RESUMED_FROM
from tunebook.task import ClassificationTask
from tunebook.tracking import Tracker, records
from tunebook.tracking.arrived import JOURNAL, run_id_of
from tunebook.tracking.describe import project_tags
from tunebook.tracking.store import RunNotFound
from tunebook.training.checkpoint import (
    CheckpointError,
    Content,
    load_weights,
    newest,
    require_same_network,
)
from tunebook.training.checkpoint_contents import require_state
from tunebook.training.position import Position
from tunebook.training.precision import Precision

log = logging.getLogger(__name__)

SHOWN = 6  # differences in one line
WEIGHTS = "weights"  # the entry of a checkpoint with the digest of the pretrained weights
FORMAT = 3  # of a checkpoint's content; increased when older ones can't be resumed


@dataclass
class Resumed:
    """Hold a verified checkpoint to resume from.

    problems: a line for each newer checkpoint that can't be used.
    origin: where it came from, if it was outside `outputs`.
    changed: the settings that differ, as the user allowed, each as "key: was -> is".
    versions: a line for each library whose version differs.
    """

    path: Path
    content: Content
    problems: list[str]
    origin: str = ""
    changed: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Return what the run recorded about itself in its checkpoints."""
        found: dict[str, Any] = self.content["tunebook"]
        return found

    @property
    def precision(self) -> Precision:
        """Return the precision that the run computed in."""
        found: Precision = validate_value(
            "precision", self.run_metadata["environment"]["precision"], Precision
        )
        return found

    @property
    def trained(self) -> bool:
        """Return whether training was over, so that only the test is left."""
        return bool(self.run_metadata.get("trained")) and not self.changed

    def log_start(self, tracker: Tracker, epochs: str) -> None:
        """Log and record where the run resumes, what is different, and the epochs so far.

        epochs: how many epochs the run has, as text.
        """
        for problem in self.problems:
            log.warning("%s; using the checkpoint before it", problem)
        where = "at the test" if self.trained else Position.of(self.content).describe(epochs)
        log.info("resuming %s, from %s", where, self.path)
        for version in self.versions:
            log.warning("%s", version)
        for change in self.changed:
            log.warning("changed: %s", change)
        if self.changed:
            tracker.set_tags({RESUMED_CHANGES: "; ".join(self.changed)})
        if self.origin:
            tracker.set_tags({RESUMED_FROM: self.origin})
        # A new record has no epochs, and a part of a journal may have been lost.
        for epoch in history(self.content):
            tracker.log_metrics(
                {name: value for name, value in epoch.items() if name != "epoch"},
                step=int(epoch["epoch"]),
            )

    def restore(self, task: ClassificationTask, *callbacks: Callback) -> None:
        """Load the state of a run whose training was over into its objects."""
        load_weights(task, self.content, str(self.path))
        for callback in callbacks:
            callback.load_state_dict(self.content["callbacks"][callback.state_key])


def folder_of(config: RunConfig, uri: str) -> RunFolder:
    """Return the run's folder: a new one, or the existing folder of a resumed run."""
    settings, overrides = config.settings, list(config.overrides)
    outputs = Path(settings["outputs"])
    if settings["resume"] is None:
        return RunFolder(config.folder, outputs, overrides=overrides, uri=uri)
    folder = RunFolder.read(Path(settings["resume"]))
    # It may have finished since this process looked for it.
    if (
        folder.status == "FINISHED"
        and not settings["resume_changes"]
        and not is_record_lost(folder)
    ):
        raise InputError(f"{folder.path}: another process has already finished this run")
    folder.outputs, folder.uri = outputs, uri  # this call's, whatever the file says
    is_fetched = folder.path.resolve() != config.folder.resolve()
    if is_fetched:
        folder = fetch_external.install(folder, config.folder, outputs)
        folder.uri = uri
    if settings["resume_changes"] or is_fetched:
        folder.overrides = overrides  # from here on they are the run's
    return folder


def load(settings: Settings) -> Resumed | None:
    """Return the checkpoint that a run resumes from.

    Returns None for a new run, and for one that was killed before its first checkpoint.
    Raises CheckpointError if no checkpoint can be used.
    """
    if settings["resume"] is None:
        return None
    folder = RunFolder.read(Path(settings["resume"]))
    checkpoints, moved, is_there = (
        folder.path / "checkpoints",
        moved_checkpoints(folder.path),
        has_checkpoint(folder.path),
    )
    is_recorded = any(record["kind"] == "run" for record in records.read(folder.path / JOURNAL))
    if not is_there and (folder.status == "FINISHED" or not is_recorded):
        moved = [LAST, BEST]  # the journal is gone, but MLflow may have them
    if moved and (run_id := run_id_of(folder.path)) and "uri" in settings["tracking"]:
        with contextlib.suppress(*([] if is_there else [RunNotFound])):
            stored = StoredRun(str(folder.path), uri=settings["tracking"]["uri"], run_id=run_id)
            stored.fetch_checkpoints(checkpoints, moved)
    if not has_checkpoint(folder.path) and folder.status != "FINISHED":
        return None
    path, content, problems = newest(checkpoints, _require_usable_content)
    return Resumed(path, content, problems, folder.origin)


def _require_usable_content(content: Content, name: str) -> None:
    run_metadata = content.get("tunebook")
    found = run_metadata.get("format") if isinstance(run_metadata, dict) else None
    if found != FORMAT:
        formats = f"format {format_value(found)}, here {FORMAT}"
        kind = f"was written by another version of Tunebook ({formats})"
        raise CheckpointError(f"{name}: {kind}, so it can't be resumed")
    require_state(content, name)


def check(config: RunConfig) -> bool:
    """Return whether a run resumes from a checkpoint.

    Raises what `load` and `apply_changes` would raise, before anything is created.
    """
    settings = config.settings
    resumed = load(settings)
    if resumed is None:
        return False
    differences = _differences(
        resumed.run_metadata,
        {
            "settings": _compared(config),
            "environment": {"threads": torch.get_num_threads()},
        },
    )
    if differences and not settings["resume_changes"]:
        raise InputError(_refusal(differences))
    with torch.device("meta"):
        parts = build(settings)
    require_same_network(parts.task, resumed.content, str(resumed.path))
    if differences:
        adapt_checkpoint(resumed.content, set(differences), parts)
    require_fit(resumed.content, parts, set(differences), str(resumed.path))
    return True


def run_metadata(parts: RunComponents, config: RunConfig, precision: str) -> dict[str, Any]:
    """Return what every checkpoint of a run contains in addition to its state.

    It serves to rebuild the run and to check that it is still the same one. It consists of plain
    values, without secrets.
    """
    return {
        "format": FORMAT,
        "overrides": list(config.overrides),
        "config": config.text,
        "settings": _compared(config),
        "environment": {"precision": precision, "threads": torch.get_num_threads()},
        "versions": {"torch": str(torch.__version__), **_code()},
        "data": data_digests(parts),
        "contents": parts.data.contents.plain(),
    }


def _code() -> dict[str, str]:
    """Return the digest of the user's own code, if there is any."""
    return {key: text for key, text in project_tags().items() if key == PROJECT_CODE}


def _compared(config: RunConfig) -> dict[str, str]:
    chosen = {
        group: str(config.choices[group])
        for group in (
            "data",
            "augmentation",
            "model",
            "loss",
            "metrics",
            "optimizer",
            "scheduler",
        )
    }
    settings = hyperparameters(redacted(config.settings))
    return chosen | {key: str(value) for key, value in settings.items()}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return a map from each key that differs to "was -> is"."""
    found: dict[str, str] = {}
    for part, values in now.items():
        was = with_added_params(before[part]) if part == "settings" else before[part]
        keys = {**was, **values} if part == "settings" else values
        found |= {
            key: f"{was.get(key)} -> {values.get(key)}"
            for key in keys
            if was.get(key) != values.get(key)
        }
    return found


def _refusal(differences: Mapping[str, str]) -> str:
    lines = [f"{key}: {change}" for key, change in differences.items()]
    more = f", and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return (
        f"resume: differs from the run so far ({'; '.join(lines[:SHOWN])}{more}); "
        "resume_changes=true resumes with these changes"
    )


def apply_changes(resumed: Resumed, parts: RunComponents, now: Mapping[str, Any]) -> None:
    """Refuse differences from the run so far, or with `resume_changes` adapt to them.

    now: the metadata of this run. Raises InputError for differences that are not allowed, and
    CheckpointError if the checkpoint doesn't fit.
    """
    parts_compared = {part: now[part] for part in ("settings", "environment", "data")}
    differences = _differences(resumed.run_metadata, parts_compared)
    if differences and not parts.settings["resume_changes"]:
        raise InputError(_refusal(differences))
    resumed.changed = [f"{key}: {change}" for key, change in differences.items()]
    versions = _differences(
        {"versions": resumed.run_metadata["versions"]}, {"versions": now["versions"]}
    )
    resumed.versions = [
        f"{key} {change}: metrics may differ{'' if key == PROJECT_CODE else ' in the last digits'}"
        for key, change in versions.items()
    ]
    load_weights(parts.task, resumed.content, str(resumed.path))
    if differences:
        adapt_checkpoint(resumed.content, set(differences), parts)
    require_fit(resumed.content, parts, set(differences), str(resumed.path))
