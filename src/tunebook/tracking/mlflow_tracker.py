"""Record a run in MLflow, and in further loggers beside it.

Nothing here waits for a store. Everything that is logged is written to the run's journal. The
uploader sends it to MLflow, and the further loggers read it there.
"""

import logging
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_only
from torch import Tensor, nn

from tunebook.config.validation import Name, Seconds, validate_args
from tunebook.redaction import learn, redact, redacted
from tunebook.run_folder import RunFolder
from tunebook.tracking import records
from tunebook.tracking.further_loggers import (
    JournalFollower,
    LoggerFactory,
    check_loggers,
    require_extra,
)
from tunebook.tracking.journal import Journal, Record
from tunebook.tracking.store import check_address, refuse_unusable
from tunebook.tracking.system_metrics import SystemMetrics
from tunebook.tracking.tracker import Status, Tracker, rounded
from tunebook.tracking.uploader import ARTIFACTS, JOURNAL, Uploader

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

log = logging.getLogger(__name__)

ROOM_EVERY_S = 0.5  # between two attempts to write to a full disk
MODEL = "model"
JPEG = {"format": "JPEG", "quality": 85}


class MLflowTracker(Tracker):
    """Record a run in an MLflow store: a sqlite file or a tracking server.

    A sqlite file that does not exist is created.
    patience_s: how many seconds a run waits at its end for a store that accepts nothing.
    also: what makes further loggers, by their names.
    """

    also: Mapping[str, LoggerFactory]

    @validate_args
    def __init__(
        self,
        uri: Name,
        system_metrics: bool,
        save_model: bool,
        save_pictures: bool,
        patience_s: Seconds,
        also: Mapping[str, LoggerFactory] | None = None,
        save_grad_cam: bool = False,
    ) -> None:
        super().__init__()
        check_address(uri)
        learn(uri)
        self.address, self.uri = uri, redact(uri)
        self.system_metrics, self.patience_s = system_metrics, patience_s
        self.wants_model, self.wants_pictures = save_model, save_pictures
        self.wants_grad_cam = save_grad_cam
        self.also = dict(also or {})
        self.unsaved: list[str] = []  # artifacts that could not be written to the disk
        self._known: set[tuple[str, int]] = set()

    def check(self) -> None:
        """Raise InputError if the store is a file that can't be used, or a further logger can't."""
        refuse_unusable(self.address)
        check_loggers(self.also)
        if self.wants_grad_cam:
            require_extra("tracking.save_grad_cam", "captum")

    def open(self, folder: RunFolder) -> bool:
        """Open the journal, start sending it, and return whether the run is new."""
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
        # A run that was killed before it was described is still new.
        new = all(record["kind"] != "run" for record in earlier)
        self._journal = Journal(path)
        # Created before anything is appended, because it checks what is missing.
        self._uploader = Uploader(folder, self.address, self._journal)
        if not new:
            self._journal.append({"kind": "again"})
        self._uploader.start()
        self._followers = [
            JournalFollower(name, make, folder.path, path) for name, make in self.also.items()
        ]
        for follower in self._followers:
            follower.start()
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
        """Append the journal's first record, which describes the run."""
        self.run_name = name = redact(name)
        values = {key: str(value) for key, value in params.items()}
        place = {"key": self.folder.key, "experiment": experiment, "name": name, "parent": parent}
        self._append_record("run", **place, params=values, tags=dict(tags), time=_now_ms())

    def _append_record(self, kind: str, **record: Any) -> None:
        self._journal.append(
            Record(kind=kind, **{key: redacted(value) for key, value in record.items()})
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the points that the run does not have yet.

        A run that was resumed from an earlier epoch computes some points a second time.
        """
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
        """Add tags to the run."""
        self._append_record("tags", tags=dict(tags))

    @contextmanager
    def _artifact(self, path: str) -> Iterator[Path]:
        """Yield the path for a new artifact, and afterwards record the artifact for sending.

        If the disk is full, the artifact is lost, but the run continues.
        """
        file = self.folder.path / ARTIFACTS / path
        # The uploader may be sending an earlier artifact from the path of the new one.
        unfinished = file.with_name(f".{file.name}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.unlink(missing_ok=True)
            yield unfinished
            with self._uploader.writing:
                unfinished.replace(file)
        except OSError as error:
            self.unsaved.append(f"{path} ({error.strerror or error})")
            return
        self.save_file(file, str(Path(path).parent).removeprefix("."), move=True)

    def save_text(self, text: str, path: str) -> None:
        """Save a text as an artifact, without the secrets in it."""
        with self._artifact(path) as file:
            file.write_text(redact(text))

    def save_file(self, file: Path, folder: str, move: bool = False) -> None:
        """Record a file for sending, without moving it."""
        self._append_record(
            "artifact", file=str(file.relative_to(self.folder.path)), folder=folder, move=move
        )

    def save_figure(self, figure: "Figure", path: str) -> None:
        """Save a figure as an artifact (PNG, 100 dots per inch)."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure.set_dpi(100)
        with self._artifact(path) as file:
            # `Figure.savefig` would draw it twice, the first time to arrange its parts.
            FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]

    def save_image(self, image: "Image.Image", path: str) -> None:
        """Save an image as an artifact (PNG or JPEG, as the path says)."""
        kind: dict[str, Any] = {"format": "PNG"} if path.endswith(".png") else JPEG
        with self._artifact(path) as file:
            image.save(file, **kind)

    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """Save the network as the MLflow model `runs:/<run id>/model`.

        It has a signature and an input example, accepts any batch size and contains no pickle.
        """
        from tunebook.tracking.model import write_model

        unfinished, folder = self.folder.path / f".{MODEL}.part", self.folder.path / MODEL
        try:
            write_model(network, example, unfinished)
            with self._uploader.writing:
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
        except Exception as error:
            # A full disk, or a network that can't be exported: the run continues without the model.
            self.unsaved.append(
                f"{MODEL} ({type(error).__name__}: {redact(' '.join(str(error).split()))[:200]})"
            )
            return
        self._append_record("model", folder=MODEL, name=MODEL)

    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """Log a data set as an MLflow input, with its context (training, validation, testing)."""
        self._append_record(
            "dataset", name=name, digest=digest, profile=profile, source=source, context=context
        )

    def add_view(self, tags: Mapping[str, str]) -> None:
        """Add a view in place of an earlier one of the same name."""
        self._append_record("view", tags=dict(tags))

    def close(self, status: Status) -> bool:
        """End the run, after a limited wait for disk space and for the store.

        What has not arrived is delivered by the next run or by sync. `unwritten` is then the number
        of records that could not be written to a file and are lost.
        """
        if self._samples is not None:
            self._samples.close()
        self._append_record("end", status=status, time=_now_ms())
        end = time.monotonic() + self.patience_s
        while (unwritten := self._journal.flush()) and time.monotonic() < end:
            time.sleep(ROOM_EVERY_S)
        arrived = self._uploader.close(self.patience_s)
        for follower in self._followers:
            follower.close(self.patience_s)
        self.run_id, self.experiment_id = (
            self._uploader.delivery.run_id,
            self._uploader.delivery.experiment_id,
        )
        self.unwritten = self._journal.flush() if unwritten else 0
        self._journal.close()
        for lost in self.unsaved:
            log.warning("not saved: %s", lost)
        if not arrived:
            log.warning(
                "MLflow has not received everything (%s); make sync delivers it",
                self._uploader.problem or "still delivering",
            )
        return arrived


def _now_ms() -> int:
    return int(time.time() * 1000)
