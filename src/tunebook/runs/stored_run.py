"""Find an earlier run, and read what is stored of it.

It may be a folder on this machine, an MLflow run, or a checkpoint alone. Nothing that is read is
trusted. MLflow's client takes seconds to import, and is imported only where a run's content is
read.
"""

import contextlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from omegaconf import DictConfig

from tunebook.config.files import read_yaml
from tunebook.config.validation import InputError, format_value
from tunebook.redaction import learn, redact
from tunebook.run_folder import BEST, FILE, LAST, RunFolder, folders
from tunebook.tags import PRUNED_AT_EPOCH, RESUMED_CHANGES, TESTED_WEIGHTS
from tunebook.tracking.arrived import run_id_of
from tunebook.tracking.run_lookup import LAST as NEWEST
from tunebook.tracking.run_lookup import find_run
from tunebook.tracking.run_reader import FoundRun, open_reader
from tunebook.tracking.store import RunNotFound, open_client
from tunebook.untrusted import read_regular

if TYPE_CHECKING:
    from mlflow.entities import Run

ADDRESSES = ("http://", "https://")  # beginnings of a checkpoint that is to be downloaded
TIMEOUT_S = 30  # for the server of such a checkpoint to answer
NAMES = (
    "last, an MLflow run's id, its first characters or its name, a registered model "
    "(models:/<name>/<version>), a run's folder, a checkpoint's path or http(s) address"
)


@dataclass(frozen=True)
class StoredRun:
    """Hold where a run is stored, and read it from there.

    name: what the user called it. setting: the setting that named it, for messages. uri: the
    tracking store. folder: its folder on this machine, or None. run_id: of its MLflow run, or "".
    checkpoint: the path or address of its checkpoint, where nothing else of it is known.
    """

    name: str
    setting: str = "run"
    uri: str = ""
    folder: Path | None = None
    run_id: str = ""
    checkpoint: str = ""

    @classmethod
    def find(cls, name: str, uri: str, outputs: Path | None = None, setting: str = "run") -> Self:
        """Return the run with this name, which may be any of `NAMES`.

        uri: the tracking store, or "" for none. outputs: a folder whose runs are looked through
        first; "last" then is the newest of them. Raises RunNotFound, which names the nearest match,
        AmbiguousRun, or InputError if the store can't be read.
        """
        if name.startswith(ADDRESSES):
            return cls(name, setting, uri, checkpoint=name)
        path = Path(name)
        with contextlib.suppress(OSError):  # the text may be too long for a file's name
            if name != NEWEST and path.is_file():
                return cls(name, setting, uri, checkpoint=name)
            if (path / FILE).is_file() or (name != NEWEST and (path / "checkpoints").is_dir()):
                return cls(name, setting, uri, path, run_id_of(path))
        if outputs is not None and (folder := _in_outputs(name, outputs, setting)):
            return cls(name, setting, uri, folder, run_id_of(folder))
        if not uri:
            raise RunNotFound(f"{setting}={format_value(name)}: there is no such run")
        run_id = find_run(uri, name, setting).run_id
        here = None if outputs is None else _in_outputs(run_id, outputs, setting)
        return cls(name, setting, uri, here, run_id)

    @classmethod
    def requested(cls, cfg: DictConfig) -> Self:
        """Return the run that `cfg.run` names, in the tracking store of `cfg.tracking`."""
        return cls.find(str(cfg.run), str(cfg.tracking.get("uri", "")))

    @property
    def where(self) -> str:
        """Return the beginning of a message about the run."""
        return f"{self.setting}={self.run_id or format_value(self.name)}"

    @cached_property
    def listed(self) -> FoundRun:
        """Return what the tracking store lists of the run: its name, status and tags.

        Raises InputError if the run is not in MLflow.
        """
        if not self.run_id:
            raise InputError(
                f"{self.where}: is no run in MLflow; its weights are for evaluate and predict"
            )
        if (found := open_reader(self.uri).get(self.run_id)) is None:
            raise RunNotFound(f"{self.where}: no such run in {redact(self.uri)}")
        return found

    @property
    def status(self) -> str:
        """Return MLflow's status of the run, such as FINISHED."""
        return self.listed.status

    @property
    def tags(self) -> Mapping[str, str]:
        """Return the tags of the MLflow run."""
        return self.listed.tags

    @cached_property
    def _run(self) -> "Run":
        from mlflow.exceptions import MlflowException

        run_id = self.listed.run_id
        try:
            return open_client(self.uri).get_run(run_id)
        except MlflowException:
            raise RunNotFound(f"{self.where}: no such run in {redact(self.uri)}") from None

    @property
    def settings(self) -> dict[str, str]:
        """Return the parameters of the MLflow run, as text."""
        return dict(self._run.data.params)

    @property
    def metrics(self) -> dict[str, float]:
        """Return the last value of each metric of the MLflow run."""
        return dict(self._run.data.metrics)

    @property
    def experiment_id(self) -> str:
        """Return the id of the MLflow experiment that the run belongs to."""
        return str(self._run.info.experiment_id)

    def history(self, metric: str) -> dict[int, float]:
        """Return the value of a metric at each step."""
        points = open_client(self.uri).get_metric_history(self.listed.run_id, metric)
        return {point.step: point.value for point in points}

    @property
    def digests(self) -> dict[str, str]:
        """Return the digest of each part of the data.

        The keys are the purposes of the parts: training, validation, testing.
        """
        inputs = self._run.inputs.dataset_inputs if self._run.inputs else []
        return {
            tag.value: str(used.dataset.digest)
            for used in inputs
            for tag in used.tags
            if tag.key == "mlflow.data.context"
        }

    def require_no_sweep(self) -> None:
        """Raise InputError if this is the parent run of a sweep, which has no weights."""
        if self.folder is None and not self.checkpoint and self.listed.is_sweep:
            raise InputError(f"{self.where}: is a sweep, not a run: give one of its trials")

    def require_reproducible(self) -> None:
        """Raise InputError unless the run is finished and had the same settings throughout."""
        if self.listed.is_sweep:
            raise InputError(
                f"{self.where}: is a sweep, not a run: each of its trials can be reproduced"
            )
        if self.status != "FINISHED":
            raise InputError(
                f"{self.where}: is {self.status}, not FINISHED: "
                "there is nothing whole to compare with"
            )
        if changes := self.tags.get(RESUMED_CHANGES):
            raise InputError(
                f"{self.where}: its settings were changed on the way ({format_value(changes)}): "
                "no one config makes it"
            )
        if not self.tags.get(PRUNED_AT_EPOCH, "0").isdecimal():
            found = format_value(self.tags[PRUNED_AT_EPOCH])
            raise InputError(f"{self.where}: its tag {PRUNED_AT_EPOCH}={found} is no epoch")

    def read_folder(self) -> RunFolder:
        """Return what `run.json` says of the run; raise InputError if it can't be read."""
        assert self.folder is not None
        try:
            return RunFolder.read(self.folder.resolve())
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.where}: its run.json is not readable") from None

    def download(self, artifact: str, folder: Path) -> Path:
        """Download an artifact of the MLflow run to `folder`, and return the path of the file.

        Raises RunNotFound if the run has no such artifact.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            return Path(
                download_artifacts(
                    run_id=self.listed.run_id,
                    artifact_path=artifact,
                    dst_path=str(folder),
                    tracking_uri=self.uri,
                )
            )
        except (MlflowException, OSError):
            raise RunNotFound(f"{self.where}: has no {artifact} (did it finish?)") from None

    def read_config(self, name: str, folder: Path) -> Any:
        """Return an artifact in `config/` as plain values, with interpolations unresolved.

        folder: where it is downloaded to. Raises RunNotFound if there is none, and InputError if it
        can't be read.
        """
        file = self.download(f"config/{name}", folder)
        try:
            return read_yaml(read_regular(file).decode(), name)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.where}: its config/{name} can't be read ({type(error).__name__})"
            ) from None

    def weights(self, which: str, folder: Path) -> Path:
        """Return the file of the run's checkpoint.

        which: "best", "last", or "tested" for those that the run tested. A checkpoint that is given
        alone is returned whichever is asked for. folder: where it is downloaded to. Raises
        InputError if it can't be fetched.
        """
        if self.checkpoint.startswith(ADDRESSES):
            return fetch(self.checkpoint, folder / "fetched.ckpt", self.setting)
        if self.checkpoint:
            return Path(self.checkpoint)
        if self.folder is not None:
            return self.folder / "checkpoints" / f"{'last' if which == 'tested' else which}.ckpt"
        tested = self.tags.get(TESTED_WEIGHTS, "last")
        return self.download(f"checkpoints/{tested if which == 'tested' else which}.ckpt", folder)

    def fetch_checkpoints(self, to: Path, names: Sequence[str] = (LAST, BEST)) -> None:
        """Download the checkpoints of the MLflow run to the folder `to`.

        The best checkpoint may be missing, because some runs must not select a best epoch. Raises
        RunNotFound if the last one is missing.
        """
        to.mkdir(exist_ok=True)
        for name in names:
            with contextlib.suppress(*([RunNotFound] if name == BEST else [])):
                self.download(f"checkpoints/{name}", to).replace(to / name)


def _in_outputs(name: str, outputs: Path, setting: str) -> Path | None:
    """Return the folder of the run in `outputs` with this key or MLflow id, or the newest one.

    Raises InputError where `name` is "last" and there is no run.
    """
    oldest_first = sorted(
        (folder for folder in folders(outputs) if folder.kind == "run"),
        key=lambda folder: folder.opened,
    )
    if name == NEWEST and oldest_first:
        return oldest_first[-1].path
    if name == NEWEST:
        raise InputError(f"{setting}={NEWEST}: there is no run in {outputs}")
    for folder in oldest_first:
        if name and name in (folder.key, run_id_of(folder.path)):
            return folder.path
    return None


def fetch(address: str, to: Path, setting: str) -> Path:
    """Download the file at an address to the path `to`, and return that path.

    setting: the one that named it, for the InputError that is raised if it can't be fetched.
    """
    learn(address)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer, to.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise InputError(
            f"{setting}={format_value(redact(address))}: could not be fetched: "
            f"{getattr(error, 'reason', error)}"
        ) from None
    return to
