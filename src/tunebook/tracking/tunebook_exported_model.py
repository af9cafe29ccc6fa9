"""Load an exported network for MLflow's pyfunc, from the code folder of each MLflow model.

MLflow's own loader for PyTorch imports Lightning, and with it torchvision. That import fails if the
builds of torch and torchvision do not match. This loader needs only torch, and nothing of Tunebook.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

FILE = "model.pt2"


class ExportedModel:
    """Compute class probabilities from images, on the CPU."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self.network = program.module()

    def predict(self, images: Any, params: Any = None) -> npt.NDArray[np.float32]:
        """Return the probabilities (B, num_classes) of images uint8 (B, H, W, C) of any size."""
        pixels = np.array(images)
        if pixels.dtype != np.uint8:
            raise ValueError(f"images must be uint8, from 0 to 255, not {pixels.dtype}")
        with torch.inference_mode():
            found: torch.Tensor = self.network(torch.from_numpy(pixels))
        return np.asarray(found.numpy(), dtype=np.float32)


def _load_pyfunc(path: str, model_config: Any = None) -> ExportedModel:
    """Return the model in a folder; MLflow calls this function by its name."""
    return ExportedModel(torch.export.load(Path(path) / FILE))
