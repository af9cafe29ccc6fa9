"""Lets torchvision be imported beside a torch build that its compiled operators do not fit.

Where a CPU build of torch stands beside PyPI's CUDA build of torchvision, torchvision's shared library cannot load, and
`import torchvision` then fails on registering a fake for an operator (nms) that nobody defined. torchmetrics and
pytorch_lightning import torchvision wherever it is installed, so they fail with it. Declaring the operators' schemas is enough:
data sets, transforms and models work, only box operators don't. A matched pair loads its own operators and needs no mending.

Import this module before torchvision, torchmetrics or pytorch_lightning.
"""

import importlib.util
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _compiled_operators_load() -> bool:
    """True where torchvision's own library of operators fits this torch (loading it is what defines them)."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # no torchvision: nothing to mend
    libraries = [path for path in Path(spec.origin).parent.glob("_C.*") if path.suffix in (".so", ".pyd", ".dylib")]
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except (ImportError, OSError):
        return False
    return bool(libraries)


def _declare() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    return library


# The definitions live as long as the Library object does: keep it.
DECLARED = None if _compiled_operators_load() else _declare()
