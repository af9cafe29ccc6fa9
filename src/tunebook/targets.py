"""Which class a `_target_` may name.

A config is never a way to run other code: a target must lie in a package that is trusted for its group, and must be a subclass
of the kind that the group makes. The first is decided on the name alone, before anything is imported.
"""

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

from tunebook.checks import SettingError, construct, nearest


@dataclass(frozen=True)
class Kind:
    """What a group's targets are: subclasses of `base` ("module:Class") found in one of `modules` (or below them)."""

    base: str
    modules: tuple[str, ...]
    refused: tuple[str, ...] = ()  # names of classes that write files where a config says


KINDS = {
    "data": Kind("pytorch_lightning:LightningDataModule", ("tunebook.data",)),
    "data.source": Kind("tunebook.data.sources:Source", ("tunebook.data.sources",)),
    "model": Kind("torch.nn:Module", ("tunebook.networks",)),
    "augmentation": Kind("torch.nn:Module", ("tunebook.data.augmentation",)),
    "optimizer": Kind("torch.optim:Optimizer", ("torch.optim",)),
    "scheduler": Kind(
        "torch.optim.lr_scheduler:LRScheduler", ("tunebook.schedules", "torch.optim.lr_scheduler")
    ),
    "callbacks": Kind(
        "pytorch_lightning:Callback",
        ("pytorch_lightning.callbacks", "tunebook.training"),
        (
            "Checkpoint",
            "ModelCheckpoint",
            "OnExceptionCheckpoint",
            "BasePredictionWriter",
            "SpikeDetection",
        ),
    ),
    "sweep.sampler": Kind("optuna.samplers:BaseSampler", ("optuna.samplers",)),
    "sweep.pruner": Kind("optuna.pruners:BasePruner", ("optuna.pruners",)),
    "tracking": Kind("pytorch_lightning.loggers:Logger", ("tunebook.tracking",)),
}


def check_name(target: object, kind: str, where: str) -> str:
    """The target's dotted name, where its package is trusted for this kind; else SettingError. Imports nothing."""
    allowed = KINDS[kind].modules
    if not isinstance(target, str) or not all(
        part.isidentifier() and not part.startswith("_") for part in target.split(".")
    ):
        raise SettingError(
            where, target, f"must be the dotted name of a class in {' or '.join(allowed)}"
        )
    if not any(target.startswith(module + ".") for module in allowed):
        raise SettingError(
            where,
            target,
            f"must be a class in {' or '.join(allowed)}: other code is never run from a config",
        )
    if target.rpartition(".")[2] in KINDS[kind].refused:
        raise SettingError(
            where, target, "writes files where a config says; the run keeps its own checkpoints"
        )
    return target


def resolve(target: object, kind: str, where: str) -> type[Any]:
    """The class that `target` names. SettingError where it is not trusted, not there, or not of this kind."""
    name = check_name(target, kind, where)
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise SettingError(where, target, f"there is no module '{module_name}'") from None
    for each in getattr(module, "__all__", ()):
        getattr(module, each)  # some rooms bring their classes at first use
    base = _load(KINDS[kind].base)
    classes = [
        n
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, base) and c is not base
    ]
    if attribute not in classes:
        raise SettingError(
            where,
            target,
            f"must be a {base.__name__} of {module_name}.{nearest(attribute, classes)}",
        )
    found: type[Any] = getattr(module, attribute)
    return found


def make(settings: object, kind: str, where: str | None = None, **given: Any) -> Any:
    """The object that a group's settings describe: its `_target_`, called with the rest and with what assembly gives."""
    where = where or kind
    if not isinstance(settings, dict):
        raise SettingError(where, settings, "must be settings with a _target_")
    target = resolve(settings.get("_target_"), kind, f"{where}._target_")
    return construct(
        target, {key: value for key, value in settings.items() if key != "_target_"}, where, **given
    )


def _load(path: str) -> type[Any]:
    module, _, name = path.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found
