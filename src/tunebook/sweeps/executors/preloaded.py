"""Do once what each trial would do: this module is imported before trials are forked.

Importing takes most of the time of a small run, so that everything is imported that a run imports
at its first use, and what is the same for all trials is computed.
"""

import contextlib
import gc
import importlib
from collections.abc import Iterable

MODULES = (
    "tunebook.sweeps.worker",
    "tunebook.runs.check",
    "mlflow.store.tracking.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
)


def preload() -> None:
    """Import the modules, and compute what is cached."""
    import_all(MODULES)
    from tunebook.config.compose import recompose
    from tunebook.config.files import ConfigError
    from tunebook.config.validation import SettingError
    from tunebook.sweeps.worker import CONFIG
    from tunebook.tracking import describe

    describe.package_versions()
    with contextlib.suppress(ConfigError, SettingError):  # reads the files of most trials' configs
        recompose(CONFIG, [])
    keep()


def import_all(names: Iterable[str]) -> None:
    """Import modules; one that is missing is imported by a trial, if it is needed."""
    gc.disable()  # imports make no garbage, and take a quarter less time
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def keep() -> None:
    """Keep all objects out of the garbage collection of trials, which would copy their memory."""
    gc.collect()
    gc.freeze()
    gc.enable()


preload()
