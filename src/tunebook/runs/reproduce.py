"""Run a finished run's stored config again and report whether every metric is the same.

The reproduction is a run of its own. The stored config is a file from outside: it is turned into
overrides, which go through every check that a user's own overrides go through. Locations
such as `data.root` are those of this machine.
"""

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from tunebook.config.added_settings import with_added_settings
from tunebook.config.compose import check_targets, compose_config, leaves
from tunebook.config.output import open_output
from tunebook.config.overrides import overrides_of_stored_run
from tunebook.config.roles import NOT_OF_A_TRIAL, Role, role_of
from tunebook.config.run_config import RunConfig
from tunebook.config.validation import InputError, format_value, validate_value
from tunebook.redaction import HIDDEN
from tunebook.run_folder import LAST
from tunebook.runs import check as settings_check
from tunebook.runs import snapshot
from tunebook.runs.data_place import has_own_images, place_of_images
from tunebook.runs.execute import execute
from tunebook.runs.snapshot import RunComparison, RunSnapshot
from tunebook.runs.stored_run import StoredRun
from tunebook.runs.trial import Trial
from tunebook.tags import PRUNED_AT_EPOCH, REPRODUCES, WEIGHTS
from tunebook.text_output import quoted
from tunebook.tracking.describe import MAX_NAME
from tunebook.tracking.store import RunNotFound
from tunebook.tracking.uploader import JOURNAL
from tunebook.training import checkpoint
from tunebook.training.precision import Precision

log = logging.getLogger(__name__)

CONFIG = "config"  # the config that train.py composes
KEY = re.compile(r"\w+(\.\w+)*")
Threads = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True)
class Original:
    """Hold the run to reproduce, verified.

    cfg: its config, composed here. threads: None if they are not recorded.
    notes: a line for each other difference.
    """

    run: StoredRun
    account: RunSnapshot
    cfg: DictConfig
    threads: int | None
    notes: list[str]


class Reproduction(Trial):
    """Make a run follow the run that it reproduces.

    It is tested if the original was, pruned at the epoch at which the original was, and compared
    with the original at the end.
    """

    def __init__(self, original: Original, folder: Path) -> None:
        self.original, self.folder = original, folder
        self.name = f"reproduces {original.run.listed.name}"[:MAX_NAME]
        self.tags = {REPRODUCES: original.run.run_id}
        self.tests = any(metric.startswith("test/") for metric in original.run.metrics)
        self.last_epoch = int(original.run.tags.get(PRUNED_AT_EPOCH, 0))
        self.comparison: RunComparison | None = None

    def report(self, epoch: int, value: float) -> bool:
        """Return whether the sweep pruned the original after this epoch."""
        return epoch == self.last_epoch

    def require_weights(self, digest: str) -> None:
        """Raise InputError if the original started from other pretrained weights."""
        before = self.original.run.tags.get(WEIGHTS, digest)
        if digest != before:
            raise InputError(
                f"{self.original.run.where}: its pretrained weights had the SHA-256 {before}; "
                f"those found now have {digest}"
            )

    def end_tags(self, status: str, error: BaseException | None) -> dict[str, str]:
        """Return tags with the verdict; a run that failed or was stopped has none."""
        pruned = {PRUNED_AT_EPOCH: str(self.pruned_at_epoch)} if self.pruned_at_epoch else {}
        if status != "FINISHED":
            return pruned
        self.comparison = RunComparison(
            self.original.account, snapshot.from_journal(self.folder / JOURNAL)
        )
        return pruned | self.comparison.tags


def reproduce(cfg: DictConfig) -> bool:
    """Train the run that `cfg.run` names again, and return whether every metric is the same.

    The comparison is logged. Raises InputError, ConfigError or SettingError, before anything is
    created, if there is no such run, it is not finished, or its content can't be used. Otherwise
    raises what training raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        original = read(cfg, Path(folder))
    open_output(original.cfg)
    config, threads = RunConfig.of(original.cfg), torch.get_num_threads()
    trial = Reproduction(original, config.folder)
    try:
        torch.set_num_threads(original.threads or threads)
        execute(config, trial)
    finally:
        torch.set_num_threads(threads)
    if trial.comparison is None:  # in the process of another device
        return True
    lines = [f"reproduces     {original.run.run_id}", *trial.comparison.lines(original.notes)]
    log.info("\n".join(["", *lines]))
    return trial.comparison.same


def read(cfg: DictConfig, folder: Path) -> Original:
    """Return the requested run.

    folder: the folder into which its artifacts are downloaded.
    """
    run = StoredRun.requested(cfg)
    run.require_reproducible()
    asked = cfg.hydra.overrides
    # Hydra itself adds its mode to the overrides.
    words = [word for word in (*asked.task, *asked.hydra) if word != "hydra.mode=RUN"]
    places = [word for word in words if role_of(word) == Role.LOCATION]
    made, notes = _composed(run, places, cfg.data_root, folder)
    threads = _threads(run, folder)
    if threads is None:
        notes.append(f"threads: not recorded -> {torch.get_num_threads()}")
    return Original(run, snapshot.from_mlflow(run, folder), made, threads, notes)


def _place(config: Mapping[str, Any], data_root: str | None) -> list[str]:
    """Return the override that says where the images are, unless they have a known place."""
    data = config.get("data")
    if not isinstance(data, Mapping) or not (data_root or has_own_images(data)):
        return []
    key, value = place_of_images(data, data_root)
    return [f"data.{key}={quoted(str(Path(value).absolute()))}"]


def _composed(
    run: StoredRun, places: list[str], data_root: str | None, folder: Path
) -> tuple[DictConfig, list[str]]:
    """Return the stored config as composed here, and a line for each new setting.

    It is checked like the config of any run. A setting is new if the stored config does not have
    it.
    """
    where = run.where
    config, overrides = (
        run.read_config("config.yaml", folder),
        run.read_config("overrides.yaml", folder),
    )
    _check_targets(config, where)
    places = [*places, *_place(config, data_root)]
    stored = {
        key: value
        for key, value in leaves(OmegaConf.create(with_added_settings(config)))
        if role_of(key) not in NOT_OF_A_TRIAL
    }
    stored["trainer.precision"] = validate_value("precision", run.tags.get("precision"), Precision)
    words = [
        word
        for word in overrides_of_stored_run(overrides, where)
        if role_of(word) not in NOT_OF_A_TRIAL
    ] + places
    words += list(_set(stored, dict(leaves(compose_config(CONFIG, words))), where))
    if hidden := [word for word in words if HIDDEN in word and word not in places]:
        raise InputError(
            f"{where}: {hidden[0]}: was not stored with the run, as it contains a secret"
        )
    cfg = compose_config(CONFIG, words)
    made = dict(leaves(cfg))
    for key, value in stored.items():
        if repr(made.get(key)) != repr(value):
            raise InputError(
                f"{where}: contains {format_value(f'{key}={value}')}, which can't be set"
            )
    new = [key for key in made if key not in stored and role_of(key) not in NOT_OF_A_TRIAL]
    settings_check.check(RunConfig.of(cfg))
    return cfg, [f"{key}: no such setting -> {format_value(made[key])}" for key in new]


def _check_targets(config: object, where: str) -> None:
    """Refuse a config whose targets are not allowed, before any of its settings is used."""
    if not isinstance(config, dict):
        raise InputError(f"{where}: its config/config.yaml is not a config")
    try:
        check_targets(OmegaConf.create(config))
    except OmegaConfBaseException as error:
        raise InputError(
            f"{where}: its config/config.yaml can't be used: {' '.join(str(error).split())}"
        ) from None


def _set(stored: dict[str, Any], other: dict[str, Any], where: str) -> Iterator[str]:
    """Yield an override for each stored value that the run's own overrides don't give.

    There are such values if conf/ or the stored config has changed since.
    """
    for key, value in stored.items():
        if key in other and repr(other[key]) == repr(value):
            continue
        if not KEY.fullmatch(key):
            raise InputError(
                f"{where}: contains {format_value(f'{key}={value}')}, which is not a setting"
            )
        if "${" in str(value):
            raise InputError(
                f"{where}: contains {format_value(f'{key}={value}')}, "
                "which would be evaluated on this machine"
            )
        yield f"{key}={quoted(value) if isinstance(value, str) else json.dumps(value)}"


def _threads(run: StoredRun, folder: Path) -> int | None:
    """Return the number of threads that the run's checkpoint records, or None without a record.

    Raises CheckpointError if the checkpoint can't be trusted.
    """
    try:
        content = checkpoint.read(run.download(f"checkpoints/{LAST}", folder))
    except RunNotFound:
        return None
    try:
        threads: int = validate_value(
            "threads", content["tunebook"]["environment"]["threads"], Threads
        )
    except (KeyError, TypeError):
        return None
    return threads
