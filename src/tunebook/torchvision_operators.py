"""Make torchvision importable with a torch build that its compiled operators do not match.

With a CPU build of torch and PyPI's CUDA build of torchvision, torchvision's shared library cannot
load. `import torchvision` then fails, as it registers a fake for an operator (nms) that is missing.
torchmetrics and pytorch_lightning import torchvision if it is installed, so they fail too.
Declaring the operators' schemas is enough: data sets, transforms and models work, only box
operators don't. If the builds match, torchvision loads its own operators and nothing is declared.

The package calls `install_import_patch` once. It imports nothing itself, and acts only when
torchvision is imported.
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
    """Declare missing operators just before torchvision is imported.

    It finds no module itself: the next finder finds torchvision.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec("torchvision")
            if spec is not None and not _operators_load(spec):
                _declare()


def install_import_patch() -> None:
    """Declare missing operators as soon as torchvision is imported, unless it already is."""
    if "torchvision" not in sys.modules and not any(
        isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _BeforeTorchvision())


def _operators_load(spec: ModuleSpec) -> bool:
    """Load torchvision's own library of operators, and return whether it fits this torch."""
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
