"""Write a folder of small photographs: crops of the pictures in the scikit-image wheel.

Run as `python -m tests.helpers.photographs <folder>`. The class of a crop is the picture that it
comes from. Training crops come from the left three fifths of a picture and test crops from the
right two fifths, so that no pixel is in both. Sizes and formats (JPEG, PNG) are mixed. All six
pictures are in the public domain or under CC0, as the documentation of `skimage.data` says of each.
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

REQUIREMENT = "scikit-image==0.26.0"
# NASA; CC0Textures; S. van der Walt; R. Michetti; CC0Textures; CC0Textures
PICTURES = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel")
SIDES = (48, 97)  # of a crop, in pixels
TRAIN, TEST = 60, 20  # crops of each picture


def download(folder: Path) -> Path:
    """Return the wheel, which pip downloads into a folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, REQUIREMENT], check=True)
    return next(folder.glob("*.whl"))


def write_crops(wheel: Path, folder: Path, train: int = TRAIN, test: int = TEST) -> None:
    """Write crops to `folder/{train,test}/<picture>/`; they are the same each time."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(wheel) as archive:
        for name in PICTURES:
            with Image.open(io.BytesIO(archive.read(f"skimage/data/{name}.png"))) as picture:
                edge = round(0.6 * picture.width)
                parts = {"train": (0, edge, train), "test": (edge, picture.width, test)}
                for split, (left, right, count) in parts.items():
                    path = folder / split / name
                    path.mkdir(parents=True, exist_ok=True)
                    for number in range(count):
                        width, height = random.integers(*SIDES, size=2).tolist()
                        x = int(random.integers(left, right - width))
                        y = int(random.integers(0, picture.height - height))
                        crop = picture.crop((x, y, x + width, y + height))
                        ending = ("jpg", "png")[number % 2]
                        crop.save(path / f"{name}_{split}_{number:03}.{ending}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        write_crops(download(Path(temporary)), Path(sys.argv[1]))
