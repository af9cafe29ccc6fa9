"""Lets torchvision be imported beside a torch build that its compiled operators do not fit.

Where a CPU build of torch stands beside PyPI's CUDA build of torchvision, torchvision's shared library cannot load, and
`import torchvision` then fails on registering a fake for an operator (nms) that nobody defined. torchmetrics and
pytorch_lightning import torchvision wherever it is installed, so they fail with it. Declaring the operators' schemas is enough:
data sets, transforms and models work, only box operators don't. A matched pair loads its own operators and needs no mending.

`mend_on_import` is called once, by the package itself. It imports nothing: it waits until somebody imports torchvision.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[object] = []  # the definitions live as long as their Library object


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing itself: declares what is missing just before torchvision is found by the next finder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec("torchvision")
            if spec is not None and not _operators_load(spec):
                _declare()


def mend_on_import() -> None:
    """Watches for the import of torchvision, where it has not happened yet."""
    if "torchvision" not in sys.modules and not any(
        isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _BeforeTorchvision())


def _operators_load(spec: ModuleSpec) -> bool:
    """True where torchvision's own library of operators fits this torch (loading it is what defines them)."""
    import torch

    libraries = [
        path
        for path in Path(spec.origin or "").parent.glob("_C.*")
        if path.suffix in (".so", ".pyd", ".dylib")
    ]
    try:
        for library in libraries:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except (ImportError, OSError):
        return False
    return bool(libraries)


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _kept.append(library)
