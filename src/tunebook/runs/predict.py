"""Predict the classes of images with a finished run's network."""

import contextlib
import csv
import io
import logging
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from omegaconf import DictConfig
from torch import nn
from tqdm import tqdm

from tunebook.config.validation import InputError
from tunebook.data.preprocessing import Pixels, Preprocessing
from tunebook.machine import processors
from tunebook.run_folder import open_atomically
from tunebook.runs import restore
from tunebook.runs.images import TABLE, check_output, image_files
from tunebook.text_output import csv_cell, printable
from tunebook.training.trainer import device_kind

log = logging.getLogger(__name__)

BATCH = 256  # images in one forward pass

Image = TypeVar("Image")


@dataclass(frozen=True)
class Prediction:
    """Hold the class probabilities of one image, or the reason why it could not be read."""

    probabilities: Sequence[float] = ()
    problem: str = ""

    @property
    def best(self) -> int:
        """Return the label of the most probable class, the first of equals."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


def predict(cfg: DictConfig) -> bool:
    """Log each image's most probable class, and return whether all images could be read.

    If `output` is set, all probabilities are written as CSV. An image of a folder that can't be
    read is reported on standard error and gets a row without figures. Raises InputError if
    `images` is a single file that can't be read.
    """
    paths = image_files(str(cfg.images))
    output = None if cfg.output is None else check_output(str(cfg.output), paths)
    with tempfile.TemporaryDirectory() as folder:
        restored = restore.restore(cfg, Path(folder))
    class_names = restored.parts.data.contents.class_names
    device = torch.device(
        "cuda" if device_kind(cfg.accelerator) == "gpu" and torch.cuda.is_available() else "cpu"
    )
    preprocessing = restored.parts.data.preprocessing
    classifier = Classifier(restored.parts.task.network, preprocessing, cfg.invert, device)
    is_complete = True
    with (
        opened_table(output, class_names) as add_row,
        contextlib.closing(classifier.classify(paths, preprocessing.read)) as found,
    ):
        for path, one in zip(paths, found, strict=True):
            if one.problem and not Path(str(cfg.images)).is_dir():
                raise InputError(f"images={printable(str(path))}: {one.problem}")
            is_complete = is_complete and not one.problem
            _report(path, one, class_names)
            add_row(path, one)
    return is_complete


def _report(path: Path, one: Prediction, class_names: Sequence[str]) -> None:
    name = printable(str(path))
    with tqdm.external_write_mode():
        if one.problem:
            print(f"error: images={name}: {one.problem}", file=sys.stderr)
        else:
            percent = 100 * one.probabilities[one.best]
            log.info("%s   %s   %.1f %%", name, printable(class_names[one.best]), percent)


@dataclass(frozen=True)
class Classifier:
    """Classify images with a network.

    invert: whether black and white are exchanged first.
    """

    network: nn.Module
    preprocessing: Preprocessing
    invert: bool
    device: torch.device

    def classify(
        self, images: Sequence[Image], read: Callable[[Image], Pixels]
    ) -> Generator[Prediction, None, None]:
        """Yield a prediction for each image, in their order. Only a few batches are in memory.

        read: returns an image in the network's size; InputError is taken as the image's problem.
        In a terminal, a progress bar is shown if it takes more than a second.
        """
        network = self.network.to(self.device).eval()
        with tqdm(
            total=len(images), unit="image", delay=1, leave=False, disable=None
        ) as bar, contextlib.closing(_read_batches(images, read)) as batches:  # fmt: skip
            for batch in batches:
                pixels = [one for one in batch if not isinstance(one, InputError)]
                rows = iter(self._probabilities(network, pixels) if pixels else [])
                for one in batch:
                    is_read = not isinstance(one, InputError)
                    yield Prediction(next(rows)) if is_read else Prediction(problem=str(one))
                bar.update(len(batch))

    def _probabilities(self, network: nn.Module, pixels: Sequence[Pixels]) -> list[list[float]]:
        """Return the class probabilities of a batch of images."""
        with torch.inference_mode():
            images = self.preprocessing.scale(self.preprocessing.batch(pixels).to(self.device))
            images = self.preprocessing.normalize(1 - images if self.invert else images)
            logits = network(images)
        found: list[list[float]] = logits.float().softmax(dim=1).tolist()
        return found


def _read_batches(
    images: Sequence[Image], read: Callable[[Image], Pixels]
) -> Generator[list[Pixels | InputError], None, None]:
    """Yield the pixels of each batch, with the error of an image in place of its pixels.

    Images are read in threads, and the next batch while one is being used.
    """

    def read_one(image: Image) -> Pixels | InputError:
        try:
            return read(image)
        except InputError as error:
            return error

    pool = ThreadPoolExecutor(processors(), "read images")
    try:
        pending: deque[Iterator[Pixels | InputError]] = deque()
        for start in range(0, len(images), BATCH):
            pending.append(pool.map(read_one, images[start : start + BATCH]))
            if len(pending) > 1:
                yield list(pending.popleft())
        while pending:
            yield list(pending.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def opened_table(
    output: Path | None, class_names: Sequence[str]
) -> Iterator[Callable[[Path, Prediction], None]]:
    """Yield a function that adds an image's row to the table in `output`, if there is to be one.

    The file gets its name at the end of the block.
    """
    if output is None:
        yield lambda path, one: None
        return
    with open_atomically(output) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(text)

        def add(values: Sequence[object]) -> None:
            writer.writerow([csv_cell(value) for value in values])

        def add_row(path: Path, one: Prediction) -> None:
            figures: list[object] = [round(value, 6) for value in one.probabilities]
            best = class_names[one.best] if figures else ""
            add([str(path), best, *(figures or [""] * len(class_names))])

        add([*TABLE, *class_names])
        yield add_row
        text.detach()  # which writes what is left
