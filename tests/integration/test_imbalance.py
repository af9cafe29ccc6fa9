"""Where classes differ in size, drawing them equally often helps, as `compare` says."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli
from tests.helpers.runs import with_store

RARE, ONE_IN = range(5, 10), 16  # these classes keep one training image in 16
SEEDS = 8


def write_imbalanced_digits(root: Path) -> None:
    """Write scikit-learn's digits as a folder of images with few training images of RARE."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    seen = dict.fromkeys(range(10), 0)
    for number, (image, label) in enumerate(zip(pixels, digits.target.tolist(), strict=True)):
        split = {0: "test", 1: "val"}.get(number % 5, "train")
        if split == "train":
            seen[label] += 1
            if label in RARE and seen[label] % ONE_IN != 1:
                continue
        folder = root / split / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")


@pytest.mark.slow
def test_a_balanced_sampler_raises_the_balanced_accuracy(cli: Cli, tmp_path: Path) -> None:
    write_imbalanced_digits(tmp_path / "digits")
    swept = cli(
        "train.py", "-m", "data=image_folder", f"data.root={tmp_path}/digits",
        f"data.cache_root={tmp_path}/cache", "data.sampler=shuffled,balanced",
        f"seed={','.join(map(str, range(SEEDS)))}", "metrics=balanced",
        "objective=val/balanced_acc", "model.filters=8", "trainer=cpu", "trainer.max_epochs=6",
        "data.batch_size=32", "tracking.system_metrics=false", "tracking.save_model=false",
        "tracking.save_pictures=false", "sweep.name=sampler", *with_store(tmp_path),
    )  # fmt: skip
    assert swept.code == 0, swept.err
    found = cli(
        "compare.py", "sweep=sampler", "paired=data.sampler", "report=false", *with_store(tmp_path)
    )
    assert found.code == 0, found.err
    print(found.out)
    (sentence,) = re.findall(r"^- data\.sampler matters .*$", found.out, re.M)
    assert re.match(r"- data\.sampler matters \(p [<=] [\d.]+\): best balanced", sentence)
