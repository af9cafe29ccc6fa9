"""Build a run's objects from a config's plain values.

The classes receive keyword arguments; none of them ever sees the config.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from pydantic import Field
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, ReduceLROnPlateau

from tunebook.config.run_config import Settings
from tunebook.config.targets import make, resolve
from tunebook.config.validation import (
    ExperimentName,
    Positive,
    PositiveSeconds,
    Seed,
    SettingError,
    instantiate,
    parameters_of,
    validate_value,
)
from tunebook.data import ImageDataModule, Source
from tunebook.data.augmentation.steps import Steps
from tunebook.data.contents import Contents
from tunebook.metrics.facts import Direction
from tunebook.metrics.kept import make_metrics
from tunebook.metrics.objective import check_objective, direction_of
from tunebook.runs.make_network import image_size, make_network
from tunebook.task import ClassificationTask, ParameterGroups
from tunebook.tracking import Tracker
from tunebook.tracking.further_loggers import LoggerFactory, require_extra
from tunebook.training import VerifiedCheckpoints
from tunebook.training.trainer import FURTHER, check_compiler, device_kind, make_trainer

__all__ = [
    "RunComponents",
    "build",
    "make",
    "make_augmentation",
    "make_schedule",
    "make_source",
    "make_tracker",
    "steps_of",
    "trainer_for",
]
TARGET = "_target_"
# The settings of `data` that say where the user's own images are.
PLACES = {
    "root": "the folder of the images",
    "table": "the CSV or Parquet file that names the images",
}
# Settings of a schedule that are learning rates themselves, of which each group has its own.
RATES = {"base_lr", "max_lr"}
# The optional package that a logger needs, which is also the name of the extra.
EXTRAS = {
    "pytorch_lightning.loggers.tensorboard.TensorBoardLogger": "tensorboard",
    "tunebook.tracking.wandb_offline.OfflineWandb": "wandb",
}
Interval = Literal["step", "epoch"]  # how often a schedule changes the learning rate
Finder = Literal["lr", "batch_size"]  # what `find` can suggest instead of a run
TYPES: dict[str, Any] = {
    "seed": Seed,
    # Which names there are depends on `metrics`; `check_objective` knows them.
    "objective": Annotated[str, Field(pattern=r"^val/\w+$")],
    "tested_weights": Literal["last", "best"],
    "experiment_name": ExperimentName,
    "checkpoint_every_s": PositiveSeconds,
    "resume_changes": bool,
}


@dataclass
class RunComponents:
    """Hold the objects that a config describes, except the Trainer."""

    settings: Settings
    data: ImageDataModule
    task: ClassificationTask
    callbacks: list[pl.Callback]
    tracker: Tracker
    log_lr: bool  # whether the schedule changes the learning rate

    @property
    def objective(self) -> str | None:
        """Return the metric that selects the best epoch, or None if no epoch may be selected.

        No epoch may be selected if the validation images are also used for training or testing.
        """
        return str(self.settings["objective"]) if self.data.validate_on == "split" else None

    @property
    def mode(self) -> Direction:
        """Return "max" if a higher objective is better, else "min"."""
        return direction_of(self.settings["objective"], self.settings["metrics"])


def build(settings: Settings, contents: Contents | None = None) -> RunComponents:
    """Return every object of a run except its Trainer.

    contents: what the data set holds, if that is known; otherwise it is found.
    Raises SettingError for a setting that can't be used, and DataError for data that can't be.
    """
    own = {
        key: validate_value(key, settings[key], kind)
        for key, kind in TYPES.items()
        if key != "objective"
    }
    objective = check_objective(settings["objective"], settings["metrics"])
    mode = direction_of(objective, settings["metrics"])
    data = _make_data(settings, own["seed"], contents)
    task = _make_task(settings, data, objective, mode, own["seed"])
    callbacks = _make_callbacks(settings["callbacks"] or {}, objective, mode, task.network)
    schedule_class = resolve(
        settings["scheduler"].get("_target_"), "scheduler", "scheduler._target_"
    )
    selecting = issubclass(schedule_class, ReduceLROnPlateau) or any(
        isinstance(c, EarlyStopping) for c in callbacks
    )
    _require_split(data, selecting or settings["tested_weights"] == "best")
    return RunComponents(
        settings,
        data,
        task,
        callbacks,
        make_tracker(settings["tracking"]),
        log_lr=schedule_class is not ConstantLR,
    )


def _make_task(
    settings: Settings, data: ImageDataModule, objective: str, mode: Direction, seed: int
) -> ClassificationTask:
    """Return the task; its optimizer and schedule are made when training begins."""
    shape, classes = data.contents.image_shape, len(data.contents.class_names)
    validate_value("optimizer.lr", settings["optimizer"].get("lr"), Positive)
    return ClassificationTask(
        make_network(settings, shape, classes),
        loss=make(settings["loss"], "loss", num_classes=classes, class_counts=data.class_counts),
        metrics=make_metrics(settings["metrics"], classes),
        optimizer=lambda groups: make_optimizer(settings["optimizer"], groups),
        # Asking Lightning for the steps would make it open the data before it knows the position
        # of a resumed run.
        schedule=lambda optimizer: make_schedule(
            settings["scheduler"], optimizer, steps_of(settings["trainer"], data), objective, mode
        ),
        seed=seed,
        compiles=settings["trainer"].get("compile") is True,
    )


def make_source(data_settings: Settings) -> Source:
    """Return the source that the settings of `data` describe.

    A parameter of its constructor that has the name of one of these settings gets that setting.
    """
    shared = {key: value for key, value in data_settings.items() if key not in ("source", TARGET)}
    try:
        source: Source = make(data_settings.get("source"), "data.source", **shared)
    except SettingError as error:
        key = error.key.removeprefix("data.source.")
        own = key in (data_settings.get("source") or {})
        raise SettingError(
            f"data.{key}" if key in shared and not own else error.key, error.value, error.allowed
        ) from None
    return source


def _make_data(settings: Settings, seed: int, contents: Contents | None) -> ImageDataModule:
    for key, what in PLACES.items():
        if key in settings["data"] and settings["data"][key] is None:
            raise SettingError(f"data.{key}", None, f"is required: {what}")
    chosen = dict(settings["data"])
    source = make_source(chosen)
    if contents is None and "image_size" in chosen:
        chosen["image_size"] = image_size(settings)
    of_source = parameters_of(type(source)).keys() - parameters_of(ImageDataModule).keys()
    data: ImageDataModule = make(
        {key: value for key, value in chosen.items() if key not in {"source", *of_source}},
        "data",
        source=source,
        augmentation=make_augmentation(settings["augmentation"]),
        seed=seed,
        contents=contents,
    )
    return data


def make_augmentation(settings: Any) -> nn.Module:
    """Return one augmentation, or several in the order of their names."""
    if not isinstance(settings, dict) or TARGET in settings or not settings:
        one: nn.Module = make(settings, "augmentation")
        return one
    return Steps(
        [
            make(step, "augmentation", where=f"augmentation.{name}")
            for name, step in settings.items()
        ]
    )


def _make_callbacks(
    settings: Settings, objective: str, mode: Direction, network: nn.Module
) -> list[pl.Callback]:
    """Return the callbacks; raise SettingError for two whose saved states have the same name."""
    found: list[pl.Callback] = []
    for name, one in settings.items():
        where = f"callbacks.{name}"
        made: pl.Callback = make(
            one, "callbacks", where=where, monitor=objective, mode=mode, network=network
        )
        if made.state_dict() and made.state_key in {other.state_key for other in found}:
            raise SettingError(where, one[TARGET], "there is another callback of this kind")
        found.append(made)
    return found


def make_tracker(settings: Settings) -> Tracker:
    """Return the tracker, which makes its further loggers when it opens a run."""
    kind = dict[str, dict[str, Any]] | None
    further = validate_value("tracking.also", settings.get("also"), kind) or {}
    own = {key: value for key, value in settings.items() if key != "also"}
    tracker: Tracker = make(
        own,
        "tracking",
        also={name: _logger_factory(name, one) for name, one in further.items()},
    )
    if further and tracker.also is None:
        raise SettingError("tracking.also", list(further), "needs a tracker that records in MLflow")
    return tracker


def _logger_factory(name: str, settings: Settings) -> LoggerFactory:
    where = f"tracking.also.{name}"

    def make_logger(**given: str) -> Any:
        if package := EXTRAS.get(str(settings.get(TARGET))):
            require_extra(where, package)
        return make(settings, "tracking.also", where=where, **given)

    return make_logger


def _require_split(data: ImageDataModule, selecting: bool) -> None:
    """Raise SettingError if something is selected by metrics that are not a validation split's."""
    if data.validate_on != "split" and selecting:
        message = (
            f"nothing may be selected by {data.validate_on} metrics: "
            "no plateau, no early stopping, tested_weights=last"
        )
        raise SettingError("data.validate_on", data.validate_on, message)


def batches_of(trainer: Settings, data: ImageDataModule) -> int:
    """Return the number of training batches in an epoch."""
    batches = math.ceil(data.train_size / data.batch_size)
    limit = trainer["limit_train_batches"]
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def steps_of(trainer: Settings, data: ImageDataModule) -> int:
    """Return the number of optimizer steps in the whole run."""
    steps = math.ceil(batches_of(trainer, data) / int(trainer["accumulate_grad_batches"]))
    return int(trainer["max_epochs"]) * steps


def make_optimizer(settings: Settings, groups: ParameterGroups) -> torch.optim.Optimizer:
    """Return the optimizer; each group of parameters gets its own multiple of the learning rate."""
    with_lr = [
        group | {"lr": settings["lr"] * group["lr_factor"]} if isinstance(group, dict) else group
        for group in groups
    ]
    optimizer: torch.optim.Optimizer = make(settings, "optimizer", params=with_lr)
    return optimizer


def make_schedule(
    settings: Settings,
    optimizer: torch.optim.Optimizer,
    steps: int,
    objective: str,
    mode: Direction,
) -> dict[str, Any]:
    """Return Lightning's lr_scheduler_config.

    steps: optimizer steps of the whole run. objective: what a plateau schedule monitors.
    mode: "max" if a higher objective is better, else "min".
    """
    settings = dict(settings)
    interval = validate_value("scheduler.interval", settings.pop("interval", None), Interval)
    factors = [group.get("lr_factor", 1.0) for group in optimizer.param_groups]
    for key in RATES & settings.keys() if len(factors) > 1 else ():
        settings[key] = [settings[key] * factor for factor in factors]
    schedule = make(settings, "scheduler", optimizer=optimizer, total_steps=steps, mode=mode)
    return {"scheduler": schedule, "interval": interval, "monitor": objective}


def trainer_for(
    parts: RunComponents,
    output_dir: Path,
    callbacks: list[pl.Callback],
    files: VerifiedCheckpoints,
    **changed: Any,
) -> pl.Trainer:
    """Return the Trainer of a config, with `changed` settings in place of the config's."""
    settings = parts.settings["trainer"] | changed
    further = {
        key: validate_value(f"trainer.{key}", settings.pop(key, None), kind)
        for key, kind in FURTHER.items()
    }
    if further["compile"]:
        check_compiler(device_kind(settings["accelerator"]))
    trainer: pl.Trainer = instantiate(
        make_trainer,
        settings,
        "trainer",
        output_dir=str(output_dir),
        callbacks=callbacks,
        checkpoint_io=files,
        logger=parts.tracker,
    )
    return trainer
