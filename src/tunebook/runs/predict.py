"""Predict the classes of images with a finished run's network."""

import csv
import io
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from tunebook.config.validation import InputError
from tunebook.data.preprocessing import Pixels, Preprocessing
from tunebook.run_folder import write_atomically
from tunebook.runs import restore
from tunebook.runs.images import TABLE, check_output, image_files
from tunebook.runs.restore import Restored
from tunebook.text_output import csv_cell, printable
from tunebook.training.trainer import device_kind

log = logging.getLogger(__name__)

BATCH = 256  # images in one forward pass


@dataclass(frozen=True)
class Prediction:
    """Hold the class probabilities of one image, or the reason why it could not be read."""

    path: Path
    probabilities: Sequence[float] = ()
    problem: str = ""


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
    found: list[Prediction] = []
    for one in _predictions(cfg, restored, paths):
        if one.problem:
            line = f"images={printable(str(one.path))}: {one.problem}"
            if not Path(str(cfg.images)).is_dir():
                raise InputError(line)
            print(f"error: {line}", file=sys.stderr)
        else:
            best = max(range(len(class_names)), key=one.probabilities.__getitem__)
            percent = 100 * one.probabilities[best]
            log.info(
                "%s   %s   %.1f %%", printable(str(one.path)), printable(class_names[best]), percent
            )
        found.append(one)
    if output is not None:
        write_atomically(output, _table(found, class_names).encode())
    return not any(one.problem for one in found)


def _predictions(
    cfg: DictConfig, restored: Restored, paths: Sequence[Path]
) -> Iterator[Prediction]:
    """Yield a prediction for each file, in the order of `paths`."""
    device = torch.device(
        "cuda" if device_kind(cfg.accelerator) == "gpu" and torch.cuda.is_available() else "cpu"
    )
    network = restored.parts.task.network.to(device).eval()
    preprocessing = restored.parts.data.preprocessing
    for start in range(0, len(paths), BATCH):
        read: dict[Path, Pixels] = {}
        problems: dict[Path, str] = {}
        chosen = paths[start : start + BATCH]
        for path in chosen:
            try:
                read[path] = preprocessing.read(path)
            except InputError as error:
                problems[path] = str(error)
        rows: dict[Path, list[float]] = {}
        if read:
            pixels = preprocessing.batch(list(read.values())).to(device)
            found = probabilities(network, preprocessing, pixels, cfg.invert)
            rows = dict(zip(read, found, strict=True))
        yield from (Prediction(path, rows.get(path, ()), problems.get(path, "")) for path in chosen)


def probabilities(
    network: nn.Module, preprocessing: Preprocessing, pixels: Tensor, invert: bool
) -> list[list[float]]:
    """Return the class probabilities of a batch of images.

    network: in evaluation mode. pixels: uint8 (B, C, H, W), in the network's size and on its
    device. invert: whether black and white are exchanged first.
    """
    with torch.inference_mode():
        images = preprocessing.scale(pixels)
        logits = network(preprocessing.normalize(1 - images if invert else images))
    found: list[list[float]] = logits.float().softmax(dim=1).tolist()
    return found


def _table(found: Sequence[Prediction], class_names: Sequence[str]) -> str:
    rows: list[list[object]] = [[*TABLE, *class_names]]
    for one in found:
        best = class_names[int(np.argmax(one.probabilities))] if one.probabilities else ""
        figures: list[object] = [round(value, 6) for value in one.probabilities]
        figures = figures or [""] * len(class_names)
        rows.append([str(one.path), best, *figures])
    text = io.StringIO()
    csv.writer(text).writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue()
