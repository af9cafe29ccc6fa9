"""Import once what trials that are tested need for their pictures and models.

This module is imported after `preloaded`, before trials are forked.
"""

import contextlib
import importlib

from tunebook.sweeps.executors.preloaded import import_all, keep

MODULES = (
    "tunebook.runs.pictures",
    "tunebook.tracking.error_pictures",
    "matplotlib.backends.backend_agg",
    "mlflow.pytorch",
    # What torch and MLflow import when a model is exported.
    "torch.export._trace",
    "torch._export.serde.serialize",
    "torch._inductor.ir",
    "torch.fx.experimental.proxy_tensor",
    "sympy.tensor.tensor",
    "mlflow.pyfunc.loaders",
)


def preload() -> None:
    """Import the modules, and compute what MLflow caches."""
    import_all(MODULES)
    # MLflow's table of what is installed, which is needed for each model.
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("mlflow.utils.requirements_utils")._init_modules_to_packages_map()
    keep()


preload()
