"""Define the logger that training uses: a run is opened, logged to and closed with a status."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from tunebook.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

Status = Literal["FINISHED", "FAILED", "KILLED"]
DIGITS = 7  # significant digits, the precision of a float32; more would only fill the UI's columns


def rounded(value: float) -> float:
    """Return `value` with seven significant digits, as it is stored, printed and compared."""
    return float(f"{value:.{DIGITS}g}")


class Tracker(Logger, ABC):
    """Record a run: a Lightning logger that also takes tags, artifacts, data sets and a model."""

    uri = ""  # of the store, without secrets
    address = ""  # of the store, as it was given
    run_id = ""
    run_name = ""
    experiment_id = ""
    patience_s = 0.0  # how long a run waits at its end for a store that accepts nothing
    also: Mapping[str, Any] | None = None  # what makes further loggers; None if it takes none
    unwritten = 0  # records that could not be written by the end because the disk was full
    wants_model = wants_pictures = wants_grad_cam = False  # creating them takes seconds

    @property
    def name(self) -> str:
        """Return the run's name, as Lightning expects it in this property."""
        return self.run_name

    @property
    def version(self) -> str:
        """Return the run's id, which Lightning calls the logger's version."""
        return self.run_id

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because `describe` logs the run's parameters once, from its config."""

    def check(self) -> None:
        """Raise InputError if nothing could be recorded; create nothing."""

    @abstractmethod
    def open(self, folder: RunFolder) -> bool:
        """Start recording in a run's folder, and return whether the run is new, not resumed."""

    @abstractmethod
    def describe(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str = "",
    ) -> None:
        """Record the experiment, the name, the parameters and the tags of a new run.

        parent: the key of its parent run.
        """

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one point of each metric.

        If `metrics` has Lightning's "epoch" (from 0), the step is that plus 1, otherwise `step`.
        """

    @abstractmethod
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run."""

    @abstractmethod
    def save_text(self, text: str, path: str) -> None:
        """Save a text as an artifact, without the secrets in it."""

    @abstractmethod
    def save_file(self, file: Path, folder: str, move: bool = False) -> None:
        """Save a file of the run's folder as an artifact in the artifact folder `folder`.

        move: whether the local file is removed once it has arrived.
        """

    @abstractmethod
    def save_figure(self, figure: "Figure", path: str) -> None:
        """Save a figure as an artifact (PNG)."""

    @abstractmethod
    def save_image(self, image: "Image.Image", path: str) -> None:
        """Save an image as an artifact (PNG or JPEG, as the path says)."""

    @abstractmethod
    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """Save the network in MLflow's pt2 format: images -> class probabilities.

        network: maps images to logits. example: at least two images uint8 (B, H, W, C).
        """

    @abstractmethod
    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """Log a data set as an input of the run."""

    @abstractmethod
    def add_view(self, tags: Mapping[str, str]) -> None:
        """Add a view of the runs to MLflow's UI, by tags of the experiment (see `view`)."""

    @abstractmethod
    def close(self, status: Status) -> bool:
        """End the run, and return whether everything has arrived in the store."""


class NoTracker(Tracker):
    """Record nothing."""

    def open(self, folder: RunFolder) -> bool:
        """Return True, because there is never a run to resume."""
        return True

    def describe(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str = "",
    ) -> None:
        """Keep the name, for the summary."""
        self.run_name = name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def save_text(self, text: str, path: str) -> None:
        """Do nothing."""

    def save_file(self, file: Path, folder: str, move: bool = False) -> None:
        """Do nothing; the file stays where it is."""

    def save_figure(self, figure: "Figure", path: str) -> None:
        """Do nothing."""

    def save_image(self, image: "Image.Image", path: str) -> None:
        """Do nothing."""

    def save_model(self, network: nn.Module, example: Tensor) -> None:
        """Do nothing."""

    def log_dataset(self, name: str, digest: str, profile: str, source: str, context: str) -> None:
        """Do nothing."""

    def add_view(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def close(self, status: Status) -> bool:
        """Return True, because there is nothing to deliver."""
        return True
