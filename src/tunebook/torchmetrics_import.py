"""Import torchmetrics without the packages that only its image and audio metrics use.

`import torchmetrics`, which Lightning needs too, imports torchvision's models and scipy.signal.
They take 0.7 s of each command's start, and a classifier's metrics use neither. While torchmetrics
is imported, placeholders stand for them. What torchmetrics takes from a placeholder imports the
real module on first use, so that its image metrics work as before.

The package calls `install` once. It imports nothing itself, and acts only when torchmetrics is
imported.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

POSTPONED = ("torchvision", "torchvision.models", "scipy.signal")


class _Later:
    """Stand for an attribute of a module that is imported on first use."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _found(self) -> Any:
        module = importlib.import_module(self._module)
        if hasattr(module, self._name):
            return getattr(module, self._name)
        return importlib.import_module(f"{self._module}.{self._name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)


class _Placeholder(ModuleType):
    """Stand for a module while torchmetrics is imported."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # so that it counts as a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(self.__name__, name)


@contextmanager
def _placeholders() -> Iterator[None]:
    """Put placeholders where the postponed modules would be, unless they are imported already."""
    ours = [name for name in POSTPONED if name not in sys.modules]
    for name in ours:
        sys.modules[name] = _Placeholder(name)
    try:
        yield
    finally:
        for name in ours:
            del sys.modules[name]


def _execute(loader: Loader, module: ModuleType) -> None:
    """Execute torchmetrics' module; without placeholders if its version needs the real modules."""
    del loader.exec_module  # so that it is the method of its class again
    before = set(sys.modules)
    try:
        with _placeholders():
            loader.exec_module(module)
    except Exception:
        for name in set(sys.modules) - before:
            if name.startswith("torchmetrics."):
                del sys.modules[name]
        loader.exec_module(module)


class _BeforeTorchmetrics(MetaPathFinder):
    """Find torchmetrics as the other finders do, but execute it with placeholders in place."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchmetrics":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torchmetrics")
        if spec is not None and (loader := spec.loader) is not None:
            loader.exec_module = partial(_execute, loader)  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Import torchmetrics with placeholders as soon as it is imported, unless it already is."""
    if "torchmetrics" not in sys.modules and not any(
        isinstance(finder, _BeforeTorchmetrics) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _BeforeTorchmetrics())
