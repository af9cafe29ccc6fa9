"""Fetch the files of a run to resume that is not in this `outputs` folder.

The run is either recorded in MLflow, or given as a checkpoint's path or address. Its files are
fetched into a temporary folder with the layout of a run's folder, and checked like those of any
other run. Only then are they copied into `outputs`. A run that is recorded in MLflow resumes as the
same MLflow run. A checkpoint alone resumes as a new run, in which the epochs so far are logged
again.
"""

import atexit
import shutil
import tempfile
from pathlib import Path

from tunebook.config.overrides import overrides_of_stored_run
from tunebook.config.validation import InputError, format_value
from tunebook.redaction import redact
from tunebook.run_folder import LAST, RunFolder
from tunebook.runs.stored_run import StoredRun
from tunebook.tags import RUN_KEY
from tunebook.tracking import records
from tunebook.tracking.journal import Journal, Record
from tunebook.tracking.store import RunNotFound
from tunebook.tracking.uploader import DELIVERED, JOURNAL, Delivery
from tunebook.training import checkpoint
from tunebook.training.checkpoint_contents import require_state
from tunebook.untrusted import require_key


def fetch_external(stored: StoredRun) -> RunFolder:
    """Return a temporary folder with the files of a run that is not on this machine.

    Raises InputError if the files can't be fetched or are invalid.
    """
    if stored.checkpoint:
        return _of_checkpoint(stored, _temporary())
    return _of_mlflow(stored, _temporary())


def _temporary() -> RunFolder:
    path = Path(tempfile.mkdtemp(prefix="tunebook-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    (path / "checkpoints").mkdir()
    return RunFolder(path, path)


def _of_checkpoint(stored: StoredRun, folder: RunFolder) -> RunFolder:
    file = stored.weights("last", _temporary().path)
    content = checkpoint.read(file)
    require_state(content, stored.name)
    folder.origin = redact(stored.name)
    folder.overrides = overrides_of_stored_run(content["tunebook"]["overrides"], stored.where)
    folder.status = "FINISHED" if content["tunebook"].get("trained") else "KILLED"
    shutil.copyfile(file, folder.path / "checkpoints" / LAST)
    folder.write()
    return folder


def _of_mlflow(run: StoredRun, folder: RunFolder) -> RunFolder:
    place = f"on {format_value(run.tags.get('host'))}, in {format_value(run.tags.get('folder'))}"
    if run.status == "RUNNING":
        raise InputError(f"{run.where}: is still running or was killed, {place}: resume it there")
    try:
        run.fetch_checkpoints(folder.path / "checkpoints")
        recorded = list(records.read(run.download(f"log/{JOURNAL}", _temporary().path)))
        overrides = run.read_config("overrides.yaml", folder.path)
    except RunNotFound:
        raise InputError(f"{run.where}: MLflow holds no checkpoint of it; it ran {place}") from None
    require_state(checkpoint.read(folder.path / "checkpoints" / LAST), run.run_id)
    try:
        folder.key = require_key(run.tags.get(RUN_KEY, folder.key), f"its tag {RUN_KEY}")
    except ValueError as error:
        raise InputError(f"{run.where}: {error}") from None
    folder.status = run.status
    folder.overrides = overrides_of_stored_run(overrides, run.where)
    _take_over_journal(recorded, folder.path / JOURNAL)
    Delivery(folder.path, run.uri).take_over(run.run_id, run.experiment_id)
    folder.write()
    return folder


def _take_over_journal(recorded: list[Record], to: Path) -> None:
    """Write a new journal with the run's description and points, so that none is logged twice.

    The run's artifacts are not on this machine, and MLflow already has everything else.
    """
    written = Journal(to)
    for record in recorded:
        if record["kind"] in ("run", "points"):
            written.append(record)
    written.close()


def install(fetched: RunFolder, output_dir: Path, outputs: Path) -> RunFolder:
    """Copy a fetched run's files into `output_dir`, and return the run's folder from now on."""
    shutil.copytree(fetched.path / "checkpoints", output_dir / "checkpoints", dirs_exist_ok=True)
    for name in (JOURNAL, DELIVERED):
        if (fetched.path / name).exists():
            shutil.copyfile(fetched.path / name, output_dir / name)
    return RunFolder(output_dir, outputs, key=fetched.key, origin=fetched.origin)
