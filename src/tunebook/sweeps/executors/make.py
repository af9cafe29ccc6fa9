"""Create the executor that `sweep.executor` names.

Only this module knows all kinds of executors. Each is imported when it is requested, because Ray
and submitit are optional dependencies.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from tunebook.config.validation import InputError
from tunebook.sweeps.executors.base import Executor


def make_executor(
    settings: Mapping[str, Any], trials: int, accelerator: str, addresses: Mapping[str, str | None]
) -> Executor:
    """Return the executor that `sweep.executor` names; no worker is started yet.

    Raise InputError or SettingError if it can't be used. settings: the group `sweep`. trials: the
    largest number of trials to run. accelerator: as in `trainer`. addresses: those of the databases
    that workers write to, by the name of their setting.
    """
    kind = settings["executor"]
    if kind == "local":
        from tunebook.sweeps.executors.local import LocalExecutor

        return LocalExecutor(
            settings["workers"], settings["threads"], trials, accelerator, settings["test"]
        )
    own = settings[kind]
    if kind == "ray":
        require("ray", "ray")
        from tunebook.sweeps.executors.ray import RayExecutor

        return RayExecutor(
            settings["workers"], settings["threads"], trials, accelerator, own["address"], addresses
        )
    require("submitit", "slurm")
    from tunebook.sweeps.executors.slurm import SlurmExecutor

    return SlurmExecutor(settings["workers"], settings["threads"], addresses=addresses, **own)


def require(package: str, extra: str) -> None:
    """Raise InputError, which names the pip extra, if an optional package is not installed."""
    try:
        importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"sweep.executor={extra}: needs the package {package}, which is an extra: "
            f"pip install '.[{extra}]'"
        ) from None
