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
from tunebook.run_folder import BEST, LAST, LOCK, PREVIOUS, RunFolder, folders, held
from tunebook.runs.places import ADDRESSES, require_own_places
from tunebook.text_output import quoted
from tunebook.tracking import records
from tunebook.tracking.arrived import JOURNAL, run_id_of
from tunebook.tracking.run_lookup import find_run, nearest_run
from tunebook.tracking.run_reader import open_reader
from tunebook.tracking.store import RunNotFound

REPLACED = ("resume", "hydra.run.dir")  # overrides that `resolve_resume` writes itself


def resolve_resume(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the run that `cfg.resume` names, followed by those of this call.

    Raises InputError where there is no such run, or where it can't be resumed or is still running.
    """
    name, places = str(cfg.resume), []
    outputs = Path(str(cfg.outputs))
    folder = find(name, outputs)
    is_outside = name.startswith(ADDRESSES) or Path(name).is_file()
    if folder is None and not is_outside and (run_id := _id_in_mlflow(name, cfg)) is not None:
        name, is_outside = run_id, True
        folder = find(name, outputs)
    if folder is not None:
        places = [f"hydra.run.dir={quoted(str(folder.path))}"]
    elif is_outside:
        from tunebook.runs import elsewhere  # imports torch

        folder = elsewhere.fetch_external(name, cfg)
    if folder is None:
        known = (
            "last, a run's folder, an MLflow run's id, its first digits or its name, "
            "a checkpoint's path or http(s) address"
        )
        raise InputError(
            f"resume={format_value(cfg.resume)}: no such run in {cfg.outputs} or MLflow; "
            f"allowed: {known}{_hint(name, cfg)}"
        )
    if is_first_process() and folder.is_running:
        raise InputError(f"resume={cfg.resume}: the run is still running, as process {folder.pid}")
    _require_usable(folder, cfg, overrides, is_here=bool(places))
    if folder.status == "FINISHED" and not cfg.resume_changes and not is_record_lost(folder):
        raise InputError(
            f"resume={cfg.resume}: the run is finished; "
            "trainer.max_epochs=<more> resume_changes=true trains it on"
        )
    given = {key_of(override) for override in overrides}
    earlier = words_taken_over(folder.overrides, given, f"resume={format_value(cfg.resume)}")
    now = [override for override in overrides if key_of(override) not in REPLACED]
    return [*earlier, *now, f"resume={quoted(str(folder.path))}", *places]


def _require_usable(
    folder: RunFolder, cfg: DictConfig, overrides: Sequence[str], is_here: bool
) -> None:
    """Raise InputError where a folder can't be resumed, whatever its checkpoints hold."""
    where = f"resume={format_value(cfg.resume)}"
    if folder.kind != "run":
        raise InputError(f"{where}: is a sweep, not a run: the same -m command goes on with it")
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
        message = "has no checkpoint yet, and begins again with the settings that it had"
        raise InputError(
            f"resume={format_value(cfg.resume)}: {message}; "
            f"leave out {format_value(' '.join(new))}, or start another run"
        )


def find(name: str, outputs: Path) -> RunFolder | None:
    """Return this machine's run with this folder, folder's name or MLflow id, or the last one.

    Returns None where there is none. Raises InputError where its run.json can't be read, or where
    `name` is "last" and there is no run.
    """
    try:
        if (Path(name) / "run.json").is_file():
            return RunFolder.read(Path(name).resolve())
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"resume={format_value(name)}: its run.json is not readable") from None
    there = sorted(
        (folder for folder in folders(outputs) if folder.kind == "run"),
        key=lambda folder: folder.opened,
    )
    if name == "last" and there:
        return there[-1]
    if name == "last":
        raise InputError(f"resume=last: there is no run in {outputs}")
    for folder in there:
        if name and name in (folder.key, run_id_of(folder.path)):
            return folder
    return None


def _id_in_mlflow(name: str, cfg: DictConfig) -> str | None:
    """Return the id of the MLflow run with this id, short id or name, or None.

    Raises AmbiguousRun where several runs have it.
    """
    if "uri" in cfg.tracking:
        with contextlib.suppress(RunNotFound):
            return find_run(str(cfg.tracking.uri), name, "resume").run_id
    return None


def _hint(name: str, cfg: DictConfig) -> str:
    with contextlib.suppress(InputError):
        if "uri" in cfg.tracking:
            return nearest_run(open_reader(str(cfg.tracking.uri)), name)
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
    there = any(os.path.lexists(folder / "checkpoints" / name) for name in (LAST, PREVIOUS))
    return there or LAST in moved_checkpoints(folder)


def moved_checkpoints(folder: Path) -> list[str]:
    """Return the names of the checkpoints that were moved from a run's folder to MLflow."""
    told = {
        record["file"]
        for record in records.read(folder / JOURNAL)
        if record["kind"] == "artifact" and record["move"]
    }
    gone = [
        name
        for name in (LAST, BEST)
        if f"checkpoints/{name}" in told and not (folder / "checkpoints" / name).exists()
    ]
    return [
        name for name in gone if name != LAST or not (folder / "checkpoints" / PREVIOUS).exists()
    ]
