"""Resume a run that is not in this `outputs` folder.

The run is either recorded in MLflow, or given as a checkpoint's path or address. Its files are
fetched into a temporary folder with the layout of a run's folder, and checked like those of any
other run. Only then are they copied into `outputs`. A run that is recorded in MLflow resumes as the
same MLflow run. A checkpoint alone resumes as a new run, in which the epochs so far are logged
again.
"""

import atexit
import contextlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from tunebook.config.files import read_yaml
from tunebook.config.overrides import check_outside_words
from tunebook.config.roles import OF_THIS_CALL, role_of
from tunebook.config.validation import InputError, format_value
from tunebook.redaction import redact
from tunebook.run_folder import BEST, LAST, RunFolder
from tunebook.runs.places import ADDRESSES
from tunebook.runs.restore import fetch
from tunebook.tracking import records
from tunebook.tracking.finished import FinishedRun
from tunebook.tracking.journal import Journal, Record
from tunebook.tracking.store import RunNotFound
from tunebook.tracking.uploader import DELIVERED, JOURNAL, KEY_TAG, Delivery
from tunebook.training import checkpoint
from tunebook.training.checkpoint_contents import require_state
from tunebook.untrusted import read_regular, require_key


def fetch_external(name: str, cfg: DictConfig) -> RunFolder | None:
    """Return a temporary folder with the files of the checkpoint or MLflow run `name`.

    Returns None if there is neither with that name.
    Raises InputError if the files can't be fetched or are invalid.
    """
    is_address = name.startswith(ADDRESSES)
    if is_address or Path(name).is_file():
        folder = _temporary()
        return _of_checkpoint(
            fetch(name, folder.path / LAST, "resume") if is_address else Path(name), name, folder
        )
    if re.fullmatch("[0-9a-f]{32}", name) and "uri" in cfg.tracking:
        with contextlib.suppress(RunNotFound):
            return _of_mlflow(FinishedRun(cfg.tracking.uri, name), _temporary())
    return None


def _temporary() -> RunFolder:
    path = Path(tempfile.mkdtemp(prefix="tunebook-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    (path / "checkpoints").mkdir()
    return RunFolder(path, path)


def _of_checkpoint(file: Path, name: str, folder: RunFolder) -> RunFolder:
    content = checkpoint.read(file)
    require_state(content, name)
    folder.origin = redact(name)
    folder.overrides = settings_of(content["tunebook"]["overrides"], f"resume={format_value(name)}")
    folder.status = "FINISHED" if content["tunebook"].get("trained") else "KILLED"
    shutil.copyfile(file, folder.path / "checkpoints" / LAST)
    folder.write()
    return folder


def settings_of(overrides: object, where: str) -> list[str]:
    """Return the overrides of an untrusted run that may be used here.

    Overrides that name locations are left out. InputError is raised for flags and for anything that
    would be evaluated on this machine.
    where: the setting that named the run, for the error's message.
    """
    kept: list[str] = []
    for override in overrides if isinstance(overrides, list) else [overrides]:
        if not isinstance(override, str) or override.startswith("-"):
            raise InputError(f"{where}: holds {format_value(override)}, which is no setting")
        if role_of(override) in OF_THIS_CALL:
            continue
        kept += check_outside_words([override], where)
    return kept


def _of_mlflow(run: FinishedRun, folder: RunFolder) -> RunFolder:
    where = f"on {format_value(run.tags.get('host'))}, in {format_value(run.tags.get('folder'))}"
    if run.run.info.status == "RUNNING":
        raise InputError(
            f"resume={run.run_id}: is still running or was killed, {where}: resume it there"
        )
    try:
        fetch_checkpoints(run, folder.path / "checkpoints")
        told = list(records.read(run.download(f"log/{JOURNAL}", _temporary().path)))
        text = read_regular(run.download("config/overrides.yaml", folder.path)).decode()
        overrides = read_yaml(text, "config/overrides.yaml")
    except RunNotFound:
        raise InputError(
            f"resume={run.run_id}: MLflow holds no checkpoint of it; it ran {where}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"resume={run.run_id}: its config/overrides.yaml can't be read ({type(error).__name__})"
        ) from None
    require_state(checkpoint.read(folder.path / "checkpoints" / LAST), run.run_id)
    try:
        folder.key = require_key(run.tags.get(KEY_TAG, folder.key), f"its tag {KEY_TAG}")
    except ValueError as error:
        raise InputError(f"resume={run.run_id}: {error}") from None
    folder.status = str(run.run.info.status)
    folder.overrides = settings_of(overrides, f"resume={run.run_id}")
    _take_over_journal(told, folder.path / JOURNAL)
    Delivery(folder.path, run.uri).take_over(run.run_id, run.run.info.experiment_id)
    folder.write()
    return folder


def fetch_checkpoints(
    run: FinishedRun, checkpoints: Path, names: Sequence[str] = (LAST, BEST)
) -> None:
    """Download a run's checkpoints from MLflow.

    The best checkpoint may be missing, because some runs must not select a best epoch.
    Raises RunNotFound if the last checkpoint is missing.
    """
    checkpoints.mkdir(exist_ok=True)
    for name in names:
        with contextlib.suppress(*([RunNotFound] if name == BEST else [])):
            run.download(f"checkpoints/{name}", checkpoints).replace(checkpoints / name)


def _take_over_journal(told: list[Record], to: Path) -> None:
    """Write a new journal with the run's description and points, so that none is logged twice.

    The run's artifacts are not on this machine, and MLflow already has everything else.
    """
    written = Journal(to)
    for record in told:
        if record["kind"] in ("run", "points"):
            written.append(record)
    written.close()


def install(brought: RunFolder, output_dir: Path, outputs: Path) -> RunFolder:
    """Copy a fetched run's files into `output_dir`, and return the run's folder from now on."""
    shutil.copytree(brought.path / "checkpoints", output_dir / "checkpoints", dirs_exist_ok=True)
    for name in (JOURNAL, DELIVERED):
        if (brought.path / name).exists():
            shutil.copyfile(brought.path / name, output_dir / name)
    return RunFolder(output_dir, outputs, key=brought.key, origin=brought.origin)
