"""A run as training sees it: opened, told what happens, closed with the status that the process ends with.

Nothing here waits for a store. What is told goes to the run's journal; the shipper does the rest.
"""

import logging
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from tunebook.checks import Name, Seconds, checked
from tunebook.runfolder import RunFolder
from tunebook.secrets import learn, redact, redacted
from tunebook.tracking import records
from tunebook.tracking.journal import Journal, Record
from tunebook.tracking.shipper import ARTIFACTS, JOURNAL, Shipper
from tunebook.tracking.store import check_address, refuse_unusable
from tunebook.tracking.system_metrics import SystemMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
DIGITS = 7  # significant: what a float32 holds; the rest would only fill the UI's columns
ROOM_EVERY_S = 0.5  # between two looks for room on the disk
MODEL = "model"


def rounded(value: float) -> float:
    """`value` to seven significant digits: the figure that is stored, printed and compared."""
    return float(f"{value:.{DIGITS}g}")


class Tracker(Logger, ABC):
    """Where a run is written down. A Lightning logger, with the few things more that a run holds."""

    uri = ""  # of the store, without secrets
    address = ""  # of the store, as it was given
    run_id = ""
    run_name = ""
    experiment_id = ""
    patience_s = 0.0  # that the end of a run waits for a store that takes nothing
    unwritten = 0  # records that a full disk did not take until the end
    wants_model = wants_pictures = False  # making them takes seconds

    @property
    def name(self) -> str:
        """The run's name (Lightning's word for it)."""
        return self.run_name

    @property
    def version(self) -> str:
        """The run's id (Lightning's word for it)."""
        return self.run_id

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's parameters are logged once, from its config, by `open`."""

    def check(self) -> None:
        """InputError where nothing could be written down. Makes nothing."""

    @abstractmethod
    def open(self, folder: RunFolder) -> bool:
        """Starts writing in a run's folder. True where the run is new, False where it goes on."""

    @abstractmethod
    def describe(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str = "",
    ) -> None:
        """The new run's place, name, settings and origin. parent: the key of the run that it belongs to."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One point a metric. step: counted in epochs from 1 where `metrics` has Lightning's "epoch" (from 0), else as given."""

    @abstractmethod
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """More tags."""

    @abstractmethod
    def save_text(self, text: str, path: str) -> None:
        """A text artifact, without the secrets in it."""

    @abstractmethod
    def save_file(self, file: Path, folder: str, move: bool = False) -> None:
        """A file in the run's folder as an artifact in `folder`. move: it is kept there only."""

    @abstractmethod
    def save_figure(self, figure: "Figure", path: str) -> None:
        """A picture artifact (PNG)."""

    @abstractmethod
    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """The network in MLflow's pt2 format: images -> class probabilities. example: at least two images (B, C, H, W)."""

    @abstractmethod
    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """A data set as an input of the run."""

    @abstractmethod
    def add_view(self, tags: Mapping[str, str]) -> None:
        """A view of the runs for MLflow's pages: tags of the experiment (see `view`)."""

    @abstractmethod
    def close(self, status: Status) -> bool:
        """Ends the run. False where something has not arrived in the store yet."""


class NoTracker(Tracker):
    """Writes nothing anywhere."""

    def open(self, folder: RunFolder) -> bool:
        """Nothing to go on with."""
        return True

    def describe(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str = "",
    ) -> None:
        """Keeps the name, for the summary."""
        self.run_name = name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Nothing."""

    def save_text(self, text: str, path: str) -> None:
        """Nothing."""

    def save_file(self, file: Path, folder: str, move: bool = False) -> None:
        """Nothing: the file stays where it is."""

    def save_figure(self, figure: "Figure", path: str) -> None:
        """Nothing."""

    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """Nothing."""

    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """Nothing."""

    def add_view(self, tags: Mapping[str, str]) -> None:
        """Nothing."""

    def close(self, status: Status) -> bool:
        """Nothing."""
        return True


class MLflowTracker(Tracker):
    """A run in an MLflow store: a sqlite file (created safely where there is none) or a tracking server.

    patience_s: how long the end of a run waits for a store that takes nothing.
    """

    @checked
    def __init__(
        self,
        uri: Name,
        system_metrics: bool,
        save_model: bool,
        save_pictures: bool,
        patience_s: Seconds,
    ) -> None:
        super().__init__()
        check_address(uri)
        learn(uri)
        self.address, self.uri = uri, redact(uri)
        self.system_metrics, self.patience_s = system_metrics, patience_s
        self.wants_model, self.wants_pictures = save_model, save_pictures
        self.unsaved: list[str] = []  # artifacts that the disk did not take
        self._known: set[tuple[str, int]] = set()

    def check(self) -> None:
        """InputError where the store is a file that can't be used."""
        refuse_unusable(self.address)

    def open(self, folder: RunFolder) -> bool:
        """Opens the journal and starts sending it."""
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.folder, path = folder, folder.path / JOURNAL
        earlier = list(records.read(path))
        self._known = {
            (name, step)
            for record in earlier
            if record["kind"] == "points"
            for name, _, _, step in record["points"]
        }
        for record in earlier:
            self.run_name = record["name"] if record["kind"] == "run" else self.run_name
        new = all(
            record["kind"] != "run" for record in earlier
        )  # killed before it could say what it is, it is new still
        self._journal = Journal(path)
        self._shipper = Shipper(
            folder, self.address, self._journal
        )  # before more is told: it looks for what is missing
        if not new:
            self._journal.append({"kind": "again"})
        self._shipper.start()
        self._samples: SystemMetrics | None = None
        if self.system_metrics:
            first = 1 + max(
                (step for name, step in self._known if name.startswith("system/")), default=-1
            )
            self._samples = SystemMetrics(self._points, first)
            self._samples.start()
        return new

    def describe(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str = "",
    ) -> None:
        """The journal's first record."""
        self.run_name = name = redact(name)
        values = {key: str(value) for key, value in params.items()}
        place = {"key": self.folder.key, "experiment": experiment, "name": name, "parent": parent}
        self._tell("run", **place, params=values, tags=dict(tags), time=_now_ms())

    def _tell(self, kind: str, **record: Any) -> None:
        self._journal.append(
            Record(kind=kind, **{key: redacted(value) for key, value in record.items()})
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A point that the run has already (it went on from before that point) is not told again."""
        metrics = dict(metrics)
        epoch = metrics.pop("epoch", None)
        self._points(metrics, int(epoch) + 1 if epoch is not None else step or 0)

    def _points(self, metrics: Mapping[str, float], step: int) -> None:
        now = _now_ms()
        new = [
            name
            for name, value in metrics.items()
            if not math.isnan(value) and (name, step) not in self._known
        ]
        if new:
            self._known |= {(name, step) for name in new}
            points = [[name, rounded(float(metrics[name])), now, step] for name in new]
            self._journal.append({"kind": "points", "points": points})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """More tags."""
        self._tell("tags", tags=dict(tags))

    @contextmanager
    def _artifact(self, path: str) -> Iterator[Path]:
        """The place of a new artifact in the run's folder, from which it is sent. A full disk costs the artifact, not the run."""
        file = self.folder.path / ARTIFACTS / path
        unfinished = file.with_name(
            f".{file.name}.part"
        )  # the shipper may be sending an earlier one from its place
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.unlink(missing_ok=True)
            yield unfinished
            with self._shipper.writing:
                unfinished.replace(file)
        except OSError as error:
            self.unsaved.append(f"{path} ({error.strerror or error})")
            return
        self.save_file(file, str(Path(path).parent).removeprefix("."), move=True)

    def save_text(self, text: str, path: str) -> None:
        """A text artifact, without the secrets in it."""
        with self._artifact(path) as file:
            file.write_text(redact(text))

    def save_file(self, file: Path, folder: str, move: bool = False) -> None:
        """Sent from where it is."""
        self._tell(
            "artifact", file=str(file.relative_to(self.folder.path)), folder=folder, move=move
        )

    def save_figure(self, figure: "Figure", path: str) -> None:
        """A picture artifact (PNG, 100 dots an inch)."""
        with self._artifact(path) as file:
            figure.savefig(file, format="png", dpi=100)

    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """As an MLflow model `runs:/<run id>/model`, with signature and input example; any batch size, nothing pickled."""
        from tunebook.tracking.model import write_model

        unfinished, folder = self.folder.path / f".{MODEL}.part", self.folder.path / MODEL
        try:
            write_model(network, example, unfinished)
            with self._shipper.writing:
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
        except (
            Exception
        ) as error:  # a full disk, or a network that can't be exported: the run is none the worse
            self.unsaved.append(
                f"{MODEL} ({type(error).__name__}: {redact(' '.join(str(error).split()))[:200]})"
            )
            return
        self._tell("model", folder=MODEL, name=MODEL)

    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """As an MLflow input, tagged with its context (training, validation, testing)."""
        self._tell(
            "dataset", name=name, digest=digest, profile=profile, source=source, context=context
        )

    def add_view(self, tags: Mapping[str, str]) -> None:
        """In place of an earlier one of the same name."""
        self._tell("view", tags=dict(tags))

    def close(self, status: Status) -> bool:
        """Waits for room on the disk and for the store, but not for ever.

        What has not arrived is delivered by the next start or by sync. `unwritten` says what is in no file, and so is lost.
        """
        if self._samples is not None:
            self._samples.close()
        self._tell("end", status=status, time=_now_ms())
        end = time.monotonic() + self.patience_s
        while (unwritten := self._journal.flush()) and time.monotonic() < end:
            time.sleep(ROOM_EVERY_S)
        arrived = self._shipper.close(self.patience_s)
        self.run_id, self.experiment_id = (
            self._shipper.delivery.run_id,
            self._shipper.delivery.experiment_id,
        )
        self.unwritten = self._journal.flush() if unwritten else 0
        self._journal.close()
        for lost in self.unsaved:
            log.warning("not saved: %s", lost)
        if not arrived:
            log.warning(
                "MLflow has not received everything (%s); make sync delivers it",
                self._shipper.problem or "it takes longer",
            )
        return arrived


def _now_ms() -> int:
    return int(time.time() * 1000)
