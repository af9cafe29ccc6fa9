"""Do once what each trial would do: this module is imported before trials are forked.

Importing takes most of the time of a small run, so that everything is imported that a run imports
at its first use, and what is the same for all trials is computed.
"""

import contextlib
import gc
import importlib

from tunebook.tracking import describe

MODULES = (
    "tunebook.sweeps.worker",
    "tunebook.runs.check",
    "tunebook.runs.pictures",
    "tunebook.tracking.error_pictures",
    "matplotlib.backends.backend_agg",
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    # What torch and MLflow import when a model is exported.
    "torch.export._trace",
    "torch._export.serde.serialize",
    "torch._inductor.ir",
    "torch.fx.experimental.proxy_tensor",
    "sympy.tensor.tensor",
    "mlflow.pyfunc.loaders",
)


def preload() -> None:
    """Import the modules, and compute what is cached."""
    for name in MODULES:
        with contextlib.suppress(ImportError):  # a trial imports it, if it is needed
            importlib.import_module(name)
    describe.package_versions()
    # MLflow's table of what is installed, which is needed for each model.
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("mlflow.utils.requirements_utils")._init_modules_to_packages_map()
    # The collector would look at all of these objects in each trial, and so copy their memory.
    gc.collect()
    gc.freeze()


preload()
