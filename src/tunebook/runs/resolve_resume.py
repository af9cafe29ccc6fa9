"""Find the run that `resume` names, and refuse what can be refused without its checkpoints.

This module imports no torch.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from tunebook.config.overrides import words_taken_over
from tunebook.config.roles import OF_THIS_CALL, key_of, role_of
from tunebook.config.validation import InputError, format_value
from tunebook.orphans import is_first_process
from tunebook.redaction import redact
from tunebook.run_folder import BEST, LAST, LOCK, PREVIOUS, RunFolder, held
from tunebook.runs.places import require_own_places
from tunebook.runs.stored_run import NAMES, StoredRun
from tunebook.text_output import quoted
from tunebook.tracking import records
from tunebook.tracking.arrived import JOURNAL, run_id_of
from tunebook.tracking.run_lookup import nearest_run
from tunebook.tracking.run_reader import open_reader
from tunebook.tracking.store import RunNotFound

REPLACED = ("resume", "hydra.run.dir")  # overrides that `resolve_resume` writes itself


def resolve_resume(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the run that `cfg.resume` names, followed by those of this call.

    Raises InputError where there is no such run, or where it can't be resumed or is still running.
    """
    stored = _find(cfg)
    if stored.folder is not None:
        folder = stored.read_folder()
    else:
        from tunebook.runs.fetch_external import fetch_external  # imports torch

        folder = fetch_external(stored)
    is_here = stored.folder is not None
    if is_first_process() and folder.is_running:
        raise InputError(f"resume={cfg.resume}: the run is still running, as process {folder.pid}")
    _require_usable(folder, cfg, overrides, is_here)
    if folder.status == "FINISHED" and not cfg.resume_changes and not is_record_lost(folder):
        raise InputError(
            f"resume={cfg.resume}: the run is finished; "
            "trainer.max_epochs=<more> resume_changes=true trains it on"
        )
    given = {key_of(override) for override in overrides}
    earlier = words_taken_over(folder.overrides, given, f"resume={format_value(cfg.resume)}")
    now = [override for override in overrides if key_of(override) not in REPLACED]
    places = [f"hydra.run.dir={quoted(str(folder.path))}"] if is_here else []
    return [*earlier, *now, f"resume={quoted(str(folder.path))}", *places]


def _require_usable(
    folder: RunFolder, cfg: DictConfig, overrides: Sequence[str], is_here: bool
) -> None:
    """Raise InputError where a folder can't be resumed, whatever its checkpoints hold."""
    where = f"resume={format_value(cfg.resume)}"
    if folder.kind != "run":
        raise InputError(f"{where}: is a sweep, not a run: the same -m command resumes it")
    try:
        folder.require_plain()
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None
    if is_here:
        require_own_places(folder, cfg, overrides)
        if is_first_process() and (folder.path / LOCK).exists():
            with held(folder.path):
                pass  # the run locks it again, but a refusal now comes before anything is made
        _require_no_changes(folder, cfg, overrides)


def _require_no_changes(folder: RunFolder, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise InputError where new settings are given for a run that has no checkpoint yet.

    Such a run starts again, and new settings would make it another run.
    """
    if has_checkpoint(folder.path):
        return
    asked = [text for text in overrides if role_of(text) not in OF_THIS_CALL]
    if new := [text for text in asked if redact(text) not in folder.overrides]:
        message = "has no checkpoint yet, so it starts again with the settings that it had"
        raise InputError(
            f"resume={format_value(cfg.resume)}: {message}; "
            f"leave out {format_value(' '.join(new))}, or start another run"
        )


def _find(cfg: DictConfig) -> StoredRun:
    """Return the run that `cfg.resume` names; raise InputError where there is none."""
    name, uri = str(cfg.resume), str(cfg.tracking.get("uri", ""))
    try:
        return StoredRun.find(name, uri, Path(str(cfg.outputs)), "resume")
    except RunNotFound:
        raise InputError(
            f"resume={format_value(cfg.resume)}: no such run in {cfg.outputs} or MLflow; "
            f"allowed: {NAMES}{_nearest(name, uri)}"
        ) from None


def _nearest(name: str, uri: str) -> str:
    with contextlib.suppress(InputError):
        return nearest_run(open_reader(uri), name) if uri else ""
    return ""


def is_record_lost(folder: RunFolder) -> bool:
    """Return whether a run's journal was lost before MLflow knew of the run.

    Only the checkpoint can then be used to log the run again.
    """
    if not folder.uri or run_id_of(folder.path) or not has_checkpoint(folder.path):
        return False
    return not any(record["kind"] == "run" for record in records.read(folder.path / JOURNAL))


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run has a checkpoint to resume from, in its folder or moved to MLflow."""
    has_file = any(os.path.lexists(folder / "checkpoints" / name) for name in (LAST, PREVIOUS))
    return has_file or LAST in moved_checkpoints(folder)


def moved_checkpoints(folder: Path) -> list[str]:
    """Return the names of the checkpoints that were moved from a run's folder to MLflow."""
    moved = {
        record["file"]
        for record in records.read(folder / JOURNAL)
        if record["kind"] == "artifact" and record["move"]
    }
    gone = [
        name
        for name in (LAST, BEST)
        if f"checkpoints/{name}" in moved and not (folder / "checkpoints" / name).exists()
    ]
    return [
        name for name in gone if name != LAST or not (folder / "checkpoints" / PREVIOUS).exists()
    ]
