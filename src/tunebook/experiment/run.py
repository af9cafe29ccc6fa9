"""One run: trains, tests once, writes it down and returns the objective."""

import logging
import traceback
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tunebook import precision
from tunebook.checks import Seed, conform
from tunebook.classifier import Classifier
from tunebook.experiment import record
from tunebook.experiment.assembly import Parts, Settings, build, plain, trainer_for
from tunebook.tracking.tracker import rounded
from tunebook.training import EpochReport, StopAtBatchEnd, Stopped, best_and_last, device_kind, is_first_process

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Trains, tests once and writes down the run that `cfg` describes. Returns its objective (validation data), best epoch.

    Raises SettingError, DataError, whatever training raises, and Stopped; the run's status in MLflow agrees.
    """
    output_dir = Path(HydraConfig.get().runtime.output_dir)
    settings = plain(cfg)
    if not is_first_process():
        logging.getLogger().setLevel(logging.WARNING)  # the first process speaks for all
    chosen = choose_precision(settings)
    pl.seed_everything(conform("seed", settings["seed"], Seed), verbose=False)
    parts = build(settings | {"trainer": settings["trainer"] | {"precision": chosen.precision}})
    stop = StopAtBatchEnd()
    with stop.listening():
        parts.data.prepare_data()
        if not is_first_process():
            fit(parts, output_dir, stop)
            return None
        try:
            record.open_run(parts, cfg, chosen.precision)
            return train_test_record(parts, output_dir, stop)
        except Stopped:
            record.close_run(parts, output_dir, "KILLED")
            raise
        except BaseException:
            log.exception("the run failed")
            if parts.tracker.run_id:
                parts.tracker.save_text(traceback.format_exc(), "log/traceback.txt")
            record.close_run(parts, output_dir, "FAILED")
            raise


def choose_precision(settings: Settings) -> precision.Choice:
    """What `trainer.precision` is in this run, logged."""
    asked = settings["trainer"]["precision"]
    if asked == "auto":
        probe = build(settings)
        accelerator = device_kind(settings["trainer"]["accelerator"])
        choice = precision.choose(accelerator, probe.classifier.network, probe.data.source.image_shape, probe.data.batch_size)
    else:
        choice = precision.Choice(asked, "as asked")
    log.info("precision %s: %s", choice.precision, choice.reason)
    return choice


def train_test_record(parts: Parts, output_dir: Path, stop: StopAtBatchEnd) -> float:
    """Trains, tests, writes down, closes the run as FINISHED and prints the summary."""
    report = fit(parts, output_dir, stop)
    checkpoints = output_dir / "checkpoints"
    load_weights(parts.classifier, checkpoints / f"{parts.settings['tested_weights']}.ckpt")
    figures = test(parts, output_dir)
    best = best_epoch(parts, report.history)
    record.record_results(parts, report, figures, best, checkpoints)
    record.close_run(parts, output_dir, "FINISHED")
    return best[parts.settings["objective"]]


def fit(parts: Parts, output_dir: Path, stop: StopAtBatchEnd) -> EpochReport:
    """Trains, in this process and those that the strategy starts."""
    report = EpochReport(parts.log_lr)
    checkpoints = best_and_last(output_dir / "checkpoints", parts.objective, parts.mode)
    trainer = trainer_for(parts, output_dir, [*parts.callbacks, report, checkpoints, stop])
    trainer.fit(parts.classifier, datamodule=parts.data)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # the test is the first process's alone
    return report


def best_epoch(parts: Parts, history: list[dict[str, float]]) -> dict[str, float]:
    """The epoch that the objective picks; the last where nothing may pick."""
    objective = parts.objective
    if objective is None:
        return history[-1]
    return (max if parts.mode == "max" else min)(history, key=lambda epoch: epoch[objective])


def load_weights(classifier: Classifier, checkpoint: Path) -> None:
    """Puts a checkpoint's weights into the classifier. Plain tensors only: a file cannot run code."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    classifier.load_state_dict(saved["state_dict"])


def test(parts: Parts, output_dir: Path) -> dict[str, float]:
    """test/loss and test/acc on one device, as they are stored."""
    trainer = trainer_for(parts, output_dir, [], devices=1, strategy="auto")
    trainer.logger = None  # the figures are logged with the other results
    (figures,) = trainer.test(parts.classifier, datamodule=parts.data, verbose=False)
    return {name: rounded(value) for name, value in figures.items()}
