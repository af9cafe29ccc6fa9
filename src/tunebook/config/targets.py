"""Check which class a `_target_` names, and create the object that it describes.

A config must not be able to run other code. So a target must be in a module that is trusted for
its group, or in the package of the user's project, and must be a subclass of the group's base
class. The first is checked on the name alone, before anything is imported.
"""

import importlib
import inspect
import traceback
from dataclasses import dataclass
from typing import Any

from tunebook.config.paths import PROJECT
from tunebook.config.project import FILE
from tunebook.config.validation import SettingError, instantiate, suggest


@dataclass(frozen=True)
class Kind:
    """Define which targets a group may have.

    They are subclasses of `base` ("module:Class") in one of `modules` or their submodules.
    takes_own: whether they may also be in the package of the user's project.
    """

    base: str
    modules: tuple[str, ...]
    refused: tuple[str, ...] = ()  # classes that write files to a path in the config
    takes_own: bool = True


KINDS = {
    "data": Kind("pytorch_lightning:LightningDataModule", ("tunebook.data",), takes_own=False),
    "data.source": Kind(
        "tunebook.data.sources:Source",
        (
            "tunebook.data.sources",
            "tunebook.data.cifar",
            "tunebook.data.image_files",
            "tunebook.data.huggingface",
        ),
    ),
    "model": Kind("torch.nn:Module", ("tunebook.networks",)),
    "loss": Kind("torch.nn:Module", ("tunebook.losses", "torch.nn.modules.loss")),
    "metrics": Kind("torchmetrics:Metric", ("torchmetrics.classification",)),
    "augmentation": Kind("torch.nn:Module", ("tunebook.data.augmentation",)),
    "optimizer": Kind("torch.optim:Optimizer", ("torch.optim",)),
    "scheduler": Kind(
        "torch.optim.lr_scheduler:LRScheduler", ("tunebook.schedules", "torch.optim.lr_scheduler")
    ),
    "callbacks": Kind(
        "pytorch_lightning:Callback",
        ("pytorch_lightning.callbacks", "tunebook.training.averaging"),
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
    "tracking": Kind("pytorch_lightning.loggers:Logger", ("tunebook.tracking",), takes_own=False),
    "tracking.also": Kind(
        "pytorch_lightning.loggers:Logger",
        (
            "tunebook.tracking.wandb_offline",
            "pytorch_lightning.loggers.tensorboard",
            "pytorch_lightning.loggers.csv_logs",
        ),
    ),
}
# Groups and nodes whose keys are names, each of an object of this kind.
NAMED = ("metrics", "callbacks", "tracking.also")
# Groups that are either one object or several with names.
ONE_OR_NAMED = ("augmentation",)


def kind_at(where: str) -> str | None:
    """Return the kind of the object that a path in the config describes, or None for none."""
    if where in KINDS:
        return where
    group = where.rpartition(".")[0]
    return group if group in NAMED + ONE_OR_NAMED else None


def trusted(kind: str) -> tuple[str, ...]:
    """Return the packages and modules that a target of this kind may be in."""
    if PROJECT is not None and PROJECT.package and KINDS[kind].takes_own:
        return (*KINDS[kind].modules, PROJECT.package)
    return KINDS[kind].modules


def check_name(target: object, kind: str, where: str) -> str:
    """Return the target's dotted name if its module is trusted for this kind; import nothing.

    Raises SettingError otherwise. where: the setting's path in the config, for the error.
    """
    allowed = trusted(kind)
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
            f"must be a class in {' or '.join(allowed)}: other code is never run from a config"
            f"{_where_own_code_goes(kind)}",
        )
    if target.rpartition(".")[2] in KINDS[kind].refused:
        raise SettingError(
            where, target, "writes files where a config says; the run keeps its own checkpoints"
        )
    return target


def _where_own_code_goes(kind: str) -> str:
    """Return the end of an error line: where a class of the user's own must be to be trusted."""
    if not KINDS[kind].takes_own or (PROJECT is not None and PROJECT.package):
        return ""  # the package is one of those that are listed
    if PROJECT is not None:
        return f"; name your own package in {PROJECT.folder / FILE}: [tool.tunebook], package"
    return "; put it into a project of your own: tunebook init, see docs/extending.md"


def resolve(target: object, kind: str, where: str) -> type[Any]:
    """Import and return the class that `target` names.

    Raises SettingError if it is not trusted, does not exist, or is not of this kind.
    """
    name = check_name(target, kind, where)
    module_name, _, attribute = name.rpartition(".")
    try:
        classes = classes_in(module_name, kind)
    except Exception as error:  # the user's own module may raise any
        raise SettingError(where, target, _why_not_imported(module_name, error)) from error
    if attribute not in classes:
        base = KINDS[kind].base.rpartition(":")[2]
        raise SettingError(
            where, target, f"must be a {base} of {module_name}.{suggest(attribute, classes)}"
        )
    return classes[attribute]


def classes_in(module_name: str, kind: str) -> dict[str, type[Any]]:
    """Import a module and return its classes of this kind by their names.

    Raises ModuleNotFoundError if there is no such module, and whatever a user's own module raises.
    """
    if PROJECT is not None and PROJECT.owns(module_name):
        PROJECT.make_importable()
    module = importlib.import_module(module_name)
    for each in getattr(module, "__all__", ()):
        getattr(module, each)  # some packages import their classes on first use
    base = _load(KINDS[kind].base)
    return {
        name: found
        for name, found in vars(module).items()
        if inspect.isclass(found) and issubclass(found, base) and found is not base
    }


def _why_not_imported(module_name: str, error: Exception) -> str:
    """Return why a module can't be imported, with the line in the user's code that is to blame."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module_name}.".startswith(f"{missing}."):
        known = PROJECT.modules if PROJECT is not None and PROJECT.owns(module_name) else ()
        return f"there is no module '{missing}'.{suggest(missing, known)}"
    reason = f"its module can't be imported: {type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) or PROJECT is None:  # which names the line itself
        return reason
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(str(PROJECT.code))]
    return f"{reason} ({own[-1].filename}, line {own[-1].lineno})" if own else reason


def make(settings: object, kind: str, where: str | None = None, **given: Any) -> Any:
    """Return the object that a group's settings describe.

    Its `_target_` is called with the other settings and with `given`, the arguments that come from
    the program. Raises SettingError for settings that do not fit.
    """
    where = where or kind
    if not isinstance(settings, dict):
        raise SettingError(where, settings, "must be settings with a _target_")
    target = resolve(settings.get("_target_"), kind, f"{where}._target_")
    return instantiate(
        target, {key: value for key, value in settings.items() if key != "_target_"}, where, **given
    )


def _load(path: str) -> type[Any]:
    module, _, name = path.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found
