"""Loads an exported network for MLflow's pyfunc and serves it. Lies in each MLflow model's own code folder.

MLflow's loader for PyTorch imports Lightning, and with it torchvision, which fails where torch and torchvision
are builds that do not fit each other. This one needs torch alone, and nothing of Tunebook.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

FILE = "model.pt2"


class ExportedModel:
    """Images -> class probabilities, on the CPU."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self.network = program.module()

    def predict(self, images: Any, params: Any = None) -> npt.NDArray[np.float32]:
        """Return the probabilities (B, num_classes) of float32 images (B, C, H, W)."""
        with torch.inference_mode():
            found: torch.Tensor = self.network(torch.from_numpy(np.array(images, dtype=np.float32)))
        return np.asarray(found.numpy(), dtype=np.float32)


def _load_pyfunc(path: str, model_config: Any = None) -> ExportedModel:
    """Return the model in a folder. MLflow calls it by this name."""
    return ExportedModel(torch.export.load(Path(path) / FILE))
