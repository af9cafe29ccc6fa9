"""One run from config to result: the only place where config becomes objects.

`check` says whether a config can run, before anything is loaded or made; `run` runs it. Before `plain` a config is `cfg`
(OmegaConf), after it a dict of plain values, and classes only ever see keyword arguments.
"""

import functools
import hashlib
import logging
import shutil
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tunebook.torchvision_operators  # noqa: F401  (before anything that imports torchvision)

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, ReduceLROnPlateau

from tunebook import precision
from tunebook.checks import Name, Positive, Seed, SettingError, conform, construct
from tunebook.classifier import Classifier
from tunebook.data import ImageDataModule
from tunebook.paths import CONF, ROOT
from tunebook.targets import resolve
from tunebook.tracking import Tracker, describe
from tunebook.tracking.tracker import rounded
from tunebook.training import EpochReport, StopAtBatchEnd, Stopped, best_and_last, device_kind, make_trainer

log = logging.getLogger(__name__)

Settings = dict[str, Any]
MODES = {"val/acc": "max", "val/loss": "min"}
SIMULATED_STEPS = 5000  # of a schedule, at most, when a config is checked
NOTEBOOK = "keras_notebook"


def plain(cfg: DictConfig) -> Settings:
    """Config as plain values, every interpolation resolved."""
    settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


@dataclass
class Parts:
    """What a config describes, as objects."""

    settings: Settings
    data: ImageDataModule
    classifier: Classifier
    callbacks: list[pl.Callback]
    tracker: Tracker
    log_lr: bool

    @property
    def objective(self) -> str | None:
        """The metric that picks the best epoch; None where validation data is test data, which must not pick anything."""
        return None if self.data.validate_on == "test" else str(self.settings["objective"])


def build(settings: Settings) -> Parts:
    """Every object of the run but its Trainer. SettingError for a setting that can't be used."""
    seed = conform("seed", settings["seed"], Seed)
    objective = conform("objective", settings["objective"], Literal["val/acc", "val/loss"])
    conform("tested_weights", settings["tested_weights"], Literal["last", "best"])
    conform("experiment_name", settings["experiment_name"], Name)
    data_settings = dict(settings["data"])
    source = make(data_settings.pop("source", None), "data.source")
    data = make(data_settings, "data", source=source, augmentation=make(settings["augmentation"], "augmentation"), seed=seed)
    network = make(settings["model"], "model", image_shape=source.image_shape, num_classes=len(source.class_names))
    conform("optimizer.lr", settings["optimizer"].get("lr"), Positive)
    schedule_class = resolve(settings["scheduler"].get("_target_"), "scheduler", "scheduler._target_")
    classifier = Classifier(
        network,
        optimizer=lambda parameters: make(settings["optimizer"], "optimizer", params=parameters),
        schedule=lambda optimizer, steps: make_schedule(settings["scheduler"], optimizer, steps, objective),
        num_classes=len(source.class_names),
        seed=seed,
    )
    callbacks = [
        make(callback, "callbacks", where=f"callbacks.{name}", monitor=objective, mode=MODES[objective])
        for name, callback in (settings["callbacks"] or {}).items()
    ]
    selects = issubclass(schedule_class, ReduceLROnPlateau) or any(isinstance(c, EarlyStopping) for c in callbacks)
    if data.validate_on == "test" and (selects or settings["tested_weights"] == "best"):
        raise SettingError("data.validate_on", "test", "nothing may be selected by test figures: no plateau, no early stopping, tested_weights=last")
    tracker = make(settings["tracking"], "tracking")
    return Parts(settings, data, classifier, callbacks, tracker, log_lr=schedule_class is not ConstantLR)


def make(settings: object, kind: str, where: str | None = None, **given: Any) -> Any:
    """The object that a group's settings describe: its `_target_`, called with the rest and with what assembly gives."""
    where = where or kind
    if not isinstance(settings, dict):
        raise SettingError(where, settings, "must be settings with a _target_")
    target = resolve(settings.get("_target_"), kind, f"{where}._target_")
    return construct(target, {key: value for key, value in settings.items() if key != "_target_"}, where, **given)


def make_schedule(settings: Settings, optimizer: torch.optim.Optimizer, steps: int, objective: str) -> dict[str, Any]:
    """Lightning's lr_scheduler_config."""
    settings = dict(settings)
    interval = conform("scheduler.interval", settings.pop("interval", None), Literal["step", "epoch"])
    schedule = make(settings, "scheduler", optimizer=optimizer, total_steps=steps, mode=MODES[objective])
    return {"scheduler": schedule, "interval": interval, "monitor": objective}


def trainer_for(parts: Parts, output_dir: Path, callbacks: list[pl.Callback], **changed: Any) -> pl.Trainer:
    """The Trainer of a config, with `changed` settings in place of the config's."""
    settings = parts.settings["trainer"] | changed
    trainer: pl.Trainer = construct(make_trainer, settings, "trainer", output_dir=str(output_dir), callbacks=callbacks, logger=parts.tracker)
    return trainer


def check(cfg: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Raises SettingError where `cfg` can't run. Loads no data and makes no file: shapes are tried on the meta device, for nothing.

    choices: the chosen option of each group.
    """
    settings = plain(cfg)
    if settings["data"].get("validate_on") == "test" and choices.get("experiment") != NOTEBOOK:
        raise SettingError("data.validate_on", "test", f"only experiment={NOTEBOOK} may validate on the test set; allowed: split")
    with torch.device("meta"):
        parts = build(settings)
        network, source = parts.classifier.network.eval(), parts.data.source
        try:
            shape = tuple(network(torch.empty(2, *source.image_shape)).shape)
        except (RuntimeError, ValueError) as error:
            raise SettingError("model", settings["model"]["_target_"], f"cannot take images of shape {source.image_shape}: {error}") from error
        if shape != (2, len(source.class_names)):
            raise SettingError("model", settings["model"]["_target_"], f"makes {shape} of 2 images, not {(2, len(source.class_names))}")
    construct(make_trainer, settings["trainer"], "trainer", output_dir=".", callbacks=[], logger=parts.tracker)
    accelerator = device_kind(settings["trainer"]["accelerator"])
    if accelerator == "cpu" and settings["trainer"]["precision"] == "16-mixed":
        raise SettingError("trainer.precision", "16-mixed", "needs a GPU; allowed on the CPU: auto, 32-true, bf16-mixed")
    check_schedule(parts)


def check_schedule(parts: Parts) -> None:
    """Walks the learning rate through the run on stand-in weights: it must stay a number and not fall below 0."""
    epochs = parts.settings["trainer"]["max_epochs"]
    steps = int(epochs) * len(parts.data.sets.get("train", range(-(-parts.data.train_size // parts.data.batch_size))))
    parameters = list(nn.Linear(1, 1, device="meta").parameters())
    optimizer = parts.classifier.make_optimizer(iter(parameters))
    config = parts.classifier.make_schedule(optimizer, steps)
    schedule, advances = config["scheduler"], steps if config["interval"] == "step" else int(epochs)
    optimizer.step()  # no gradients: moves nothing, but a schedule wants to come after a step
    for step in range(min(advances, SIMULATED_STEPS)):
        lr = optimizer.param_groups[0]["lr"]
        if not 0 <= lr < float("inf"):
            raise SettingError("scheduler", parts.settings["scheduler"]["_target_"], f"makes the learning rate {lr:g} at {config['interval']} {step}")
        try:
            schedule.step(0.0) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()
        except (ArithmeticError, ValueError, TypeError) as error:
            raise SettingError("scheduler", parts.settings["scheduler"]["_target_"], f"fails at {config['interval']} {step}: {error}") from error


def run(cfg: DictConfig) -> float | None:
    """Trains, tests once and writes down the run that `cfg` describes. Returns its objective (validation data), best epoch.

    Raises SettingError, DataError, whatever training raises, and Stopped; the run's status in MLflow agrees.
    """
    hydra = HydraConfig.get()
    output_dir = Path(hydra.runtime.output_dir)
    settings = plain(cfg)
    if rank_zero_only.rank != 0:
        logging.getLogger().setLevel(logging.WARNING)  # the first process speaks for all
    pl.seed_everything(conform("seed", settings["seed"], Seed), verbose=False)
    chosen = choose_precision(settings)
    parts = build(settings | {"trainer": settings["trainer"] | {"precision": chosen.precision}})
    stop = StopAtBatchEnd()
    with stop.listening():
        parts.data.prepare_data()
        if rank_zero_only.rank != 0:
            fit(parts, output_dir, stop)
            return None
        choices = {group: choice for group, choice in hydra.runtime.choices.items() if choice and "/" not in group}
        open_run(parts, cfg, choices, list(hydra.overrides.task), chosen)
        try:
            return train_and_record(parts, output_dir, stop)
        except Stopped:
            close_run(parts, output_dir, "KILLED")
            raise
        except BaseException:
            log.exception("the run failed")
            parts.tracker.save_text(traceback.format_exc(), "log/traceback.txt")
            close_run(parts, output_dir, "FAILED")
            raise


def choose_precision(settings: Settings) -> precision.Choice:
    """What `trainer.precision` is in this run, logged."""
    asked = settings["trainer"]["precision"]
    if asked != "auto":
        choice = precision.Choice(asked, "as asked")
    else:
        accelerator = device_kind(settings["trainer"]["accelerator"])
        probe = build(settings)
        choice = precision.choose(accelerator, probe.classifier.network, probe.data.source.image_shape, probe.data.batch_size)
        pl.seed_everything(settings["seed"], verbose=False)  # the probe's network drew the initial weights
    log.info("precision %s: %s", choice.precision, choice.reason)
    return choice


def open_run(parts: Parts, cfg: DictConfig, choices: dict[str, str], overrides: list[str], chosen: precision.Choice) -> None:
    """Starts the MLflow run with everything that is known before training."""
    from tunebook.commandline.names import default_choices, with_choices

    settings = flat(plain(cfg))
    defaults = flat(plain(with_choices(choices)))
    tracker, data = parts.tracker, parts.data
    name = describe.run_name(choices, default_choices(), varied(settings), varied(defaults))
    tags = describe.tags(ROOT, Path(sys.argv[0]).resolve(), sys.argv[1:])
    tracker.open(
        experiment=parts.settings["experiment_name"],
        name=name,
        params=choices | varied(settings),
        tags=tags | {"precision": chosen.precision, "tested_weights": parts.settings["tested_weights"]},
    )
    tracker.save_text(OmegaConf.to_yaml(cfg, resolve=False), "config/config.yaml")
    tracker.save_text("\n".join([f"- {override}" for override in overrides]) + "\n", "config/overrides.yaml")
    tracker.save_text(describe.package_versions(), "config/requirements.txt")
    for split, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
        images, labels = data.sets[split].images, data.sets[split].labels
        digest = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()[:16]
        profile = f'{{"images": {len(labels)}, "shape": {list(images.shape[1:])}, "classes": {len(data.source.class_names)}}}'
        tracker.log_dataset(f"{data.source.name} {split}", digest, profile, source=str(data.root), context=context)
    log.info("run %s  %s", tracker.run_name, tracker.run_id)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def varied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a user varies to learn something: not where things lie, nor how they are shown."""
    left_out = ("data.source.", "data.root", "tracking.", "trainer.progress_bar", "experiment_name")
    return {key: value for key, value in settings.items() if not key.startswith(left_out) and not key.endswith("_target_")}


def fit(parts: Parts, output_dir: Path, stop: StopAtBatchEnd) -> tuple[EpochReport, pl.Trainer]:
    """Trains, in this process and those that the strategy starts."""
    report = EpochReport(parts.log_lr)
    checkpoints = best_and_last(output_dir / "checkpoints", parts.objective, MODES[parts.settings["objective"]])
    trainer = trainer_for(parts, output_dir, [*parts.callbacks, report, checkpoints, stop])
    trainer.fit(parts.classifier, datamodule=parts.data)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # the test is the first process's alone
    return report, trainer


def train_and_record(parts: Parts, output_dir: Path, stop: StopAtBatchEnd) -> float:
    """Trains, tests, writes down, closes the run as FINISHED and prints the summary."""
    report, trainer = fit(parts, output_dir, stop)
    best = best_epoch(report.history, parts.objective)
    checkpoint = output_dir / "checkpoints" / f"{parts.settings['tested_weights']}.ckpt"
    load_weights(parts.classifier, checkpoint)
    figures = test(parts, output_dir)
    last_epoch = len(report.history)
    final = {"time/fit_s": report.fit_s, **figures}
    if parts.objective:
        final |= {"best/epoch": best["epoch"], "best/val_acc": best["val/acc"], "best/val_loss": best["val/loss"]}
    parts.tracker.log_metrics(final, step=last_epoch)
    record_pictures(parts, report)
    images = parts.data.sets["test"].images[:2].to(torch.float32).div_(255)
    parts.tracker.save_model(parts.classifier.network, images)
    for file in sorted((output_dir / "checkpoints").glob("*.ckpt")):
        if parts.tracker.save_file(file, "checkpoints"):
            file.unlink()  # kept once, in MLflow
    summarise(parts, figures, best, report)
    close_run(parts, output_dir, "FINISHED")
    return float(best[parts.settings["objective"]])


def best_epoch(history: list[dict[str, float]], objective: str | None) -> dict[str, float]:
    """The epoch that the objective picks; the last where nothing may pick."""
    if objective is None:
        return history[-1]
    return (max if MODES[objective] == "max" else min)(history, key=lambda epoch: epoch[objective])


def load_weights(classifier: Classifier, checkpoint: Path) -> None:
    """Puts a checkpoint's weights into the classifier. Plain tensors only: a file cannot run code."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    classifier.load_state_dict(saved["state_dict"])


def test(parts: Parts, output_dir: Path) -> dict[str, float]:
    """test/loss and test/acc on one device, as they are stored."""
    trainer = trainer_for(parts, output_dir, [], devices=1, strategy="auto")
    trainer.logger = None
    (figures,) = trainer.test(parts.classifier, datamodule=parts.data, verbose=False)
    return {name: rounded(value) for name, value in figures.items()}


def record_pictures(parts: Parts, report: EpochReport) -> None:
    """Confusion matrix, learning curves and the worst-classified images of the test."""
    from tunebook.tracking import pictures

    logits, names = torch.cat(parts.classifier.test_logits), parts.data.source.class_names
    images, labels = (tensor[: len(logits)] for tensor in (parts.data.sets["test"].images, parts.data.sets["test"].labels))
    parts.tracker.save_figure(pictures.confusion_matrix(labels, logits.argmax(1), names), "pictures/confusion_matrix.png")
    validation = "test set" if parts.objective is None else "validation"
    parts.tracker.save_figure(pictures.learning_curves(report.history, validation), "pictures/learning_curves.png")
    parts.tracker.save_figure(pictures.worst_images(images, labels, logits, names), "pictures/worst_images.png")


def summarise(parts: Parts, figures: Mapping[str, float], best: Mapping[str, float], report: EpochReport) -> None:
    """The last lines that a user sees: the result, and what to do next."""
    seconds = sorted(epoch["time/epoch_s"] for epoch in report.history)[len(report.history) // 2]
    selected = f"best epoch     {best['epoch']:.0f} of {len(report.history)}, validation accuracy {best['val/acc']:.2%}"
    none_selected = "best epoch     none is picked: validation was on the test set, the last epoch counts"
    tracker = parts.tracker
    lines = [
        "",
        f"test accuracy  {figures['test/acc']:.2%}   loss {figures['test/loss']:.4f}   ({parts.settings['tested_weights']} epoch's weights)",
        selected if parts.objective else none_selected,
        f"time           {seconds:.1f} s an epoch, {report.fit_s:.0f} s in all",
    ]
    if tracker.run_id:
        lines += [
            f"MLflow run     {tracker.run_name}   id {tracker.run_id}",
            "",
            "next           make ui                                              look at it, and compare",
            f"               python src/evaluate.py run={tracker.run_id}   test it again",
            "               python src/train.py optimizer=adam model.filters=16   change something",
        ]
    log.info("\n".join(lines))


def close_run(parts: Parts, output_dir: Path, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
    """Adds the log and ends the MLflow run."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    log_file = output_dir / "train.log"
    if log_file.is_file():
        parts.tracker.save_text(log_file.read_text(errors="replace"), "log/train.log")
    parts.tracker.close(status)
