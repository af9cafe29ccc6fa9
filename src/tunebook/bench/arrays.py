"""Write the images of a run as arrays, so that a peer trains with the same ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunebook.runs.assemble import RunComponents


def save_arrays(parts: RunComponents, file: Path, splits: Sequence[str] = ("train", "val")) -> None:
    """Write the images uint8 (N, H, W) and the labels that are used in an epoch of each split."""
    arrays: dict[str, Any] = {}
    for split in splits:
        chosen, limit = parts.data.sets[split], parts.settings["trainer"][f"limit_{split}_batches"]
        size = parts.data.batch_size if split == "train" else parts.data.eval_batch_size
        images = limit * size if isinstance(limit, int) else int(limit * len(chosen))
        arrays |= {
            f"{split}_images": chosen.images[:images].numpy()[:, 0],
            f"{split}_labels": chosen.labels[:images].numpy(),
        }
    np.savez(file, **arrays)
