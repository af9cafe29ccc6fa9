"""What images show, in the eyes of a finished run."""

import csv
import io
import logging
import tempfile
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tunebook.checks import InputError, SettingError, conform, shown
from tunebook.experiment import restore
from tunebook.runfolder import write_atomically
from tunebook.training import device_kind

log = logging.getLogger(__name__)

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
BATCH = 256  # images at a time


def check(cfg: DictConfig, choices: object) -> None:
    """SettingError where predict's own settings can't be used."""
    restore.check(cfg)
    if OmegaConf.is_missing(cfg, "images"):
        raise SettingError("images", "", "is required: an image file, or a folder of them")
    conform("invert", cfg.invert, bool)
    if cfg.output is not None and not Path(str(cfg.output)).parent.is_dir():
        raise SettingError("output", cfg.output, "its folder is not there")
    files(str(cfg.images))


def files(name: str) -> list[Path]:
    """The images that are meant. SettingError where there are none."""
    path = Path(name)
    found = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.suffix.lower() in ENDINGS) if path.is_dir() else []
    if not found:
        raise SettingError("images", name, f"is no image file, nor a folder of them ({' '.join(ENDINGS)})")
    return found


def read_image(path: Path, shape: tuple[int, int, int], invert: bool) -> Tensor:
    """float32 (C, H, W) in [0, 1], scaled to the shape the network takes. InputError where the file is no image."""
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"images={shown(path)}: can't be read as an image ({' '.join(str(error).split())})") from None
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(height, width, channels).permute(2, 0, 1)
    scaled = pixels.to(torch.float32).div(255)
    return 1 - scaled if invert else scaled


def predict(cfg: DictConfig) -> None:
    """Prints each image's most probable class, and where `output` is set, writes all probabilities as CSV."""
    with tempfile.TemporaryDirectory() as folder:
        restored = restore.restore(cfg, Path(folder))
    source = restored.parts.data.source
    paths = files(str(cfg.images))
    device = torch.device("cuda" if device_kind(cfg.accelerator) == "gpu" and torch.cuda.is_available() else "cpu")
    network = restored.parts.classifier.network.to(device).eval()
    rows: list[list[object]] = []
    for start in range(0, len(paths), BATCH):
        chosen = paths[start : start + BATCH]
        images = torch.stack([read_image(path, source.image_shape, bool(cfg.invert)) for path in chosen])
        with torch.inference_mode():
            probabilities = network(images.to(device)).float().softmax(dim=1).cpu()
        for path, row in zip(chosen, probabilities.tolist(), strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            rows.append([str(path), source.class_names[best], *(round(p, 6) for p in row)])
            log.info("%s   %s   %.1f %%", path, source.class_names[best], 100 * row[best])
    if cfg.output is not None:
        text = io.StringIO()
        csv.writer(text).writerows([["image", "class", *source.class_names], *rows])
        write_atomically(Path(str(cfg.output)), text.getvalue().encode())
