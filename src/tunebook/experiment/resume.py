"""Going on with a run: finding it, making sure that it is the same run still, and where a user says so, changing it."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback

from tunebook.checks import InputError, conform, shown
from tunebook.classifier import Classifier
from tunebook.commandline.names import quoted
from tunebook.experiment import elsewhere
from tunebook.experiment.assembly import Parts, Settings, plain
from tunebook.experiment.changes import adapt, history
from tunebook.experiment.record import data_digests, varied
from tunebook.precision import Precision
from tunebook.recovery.checkpoint import CheckpointError, Content, load_weights, newest
from tunebook.recovery.position import Position
from tunebook.runfolder import RunFolder, folders
from tunebook.secrets import HIDDEN, redact
from tunebook.tracking import Tracker
from tunebook.tracking.finished import FinishedRun
from tunebook.tracking.shipper import DELIVERED
from tunebook.training import is_first_process

log = logging.getLogger(__name__)

OWN_KEYS = ("resume", "resume_changes", "hydra.run.dir")  # of the call, not of the run
SHOWN = 6  # differences in one line
FORMAT = 2  # of what a checkpoint holds; raised when an older one can't be gone on with


@dataclass
class Resumed:
    """A checkpoint to go on from, verified.

    origin: where it came from, if from elsewhere. changed: the settings that differ by the user's leave, as "key: was -> is".
    """

    path: Path
    content: Content
    problems: list[str]
    origin: str = ""
    changed: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        """What the run says of itself in its checkpoints."""
        found: dict[str, Any] = self.content["tunebook"]
        return found

    @property
    def precision(self) -> Precision:
        """What the run computed in."""
        found: Precision = conform("precision", self.facts["environment"]["precision"], Precision)
        return found

    @property
    def trained(self) -> bool:
        """Whether training was over: the test is what is left."""
        return bool(self.facts.get("trained")) and not self.changed

    def say(self, tracker: Tracker, new: bool) -> None:
        """Tells the log and the record where the run goes on, and what is different; a new record also the epochs so far."""
        for problem in self.problems:
            log.warning("%s; the checkpoint before it is used", problem)
        log.info("goes on %s, from %s", f"after {Position.of(self.content)}" if not self.trained else "with the test", self.path)
        for change in self.changed:
            log.warning("changed: %s", change)
        if self.changed:
            tracker.set_tags({"resumed.changes": "; ".join(self.changed)})
        if self.origin:
            tracker.set_tags({"resumed.from": self.origin})
        if new:
            for epoch in history(self.content):
                tracker.log_metrics({name: value for name, value in epoch.items() if name != "epoch"}, step=int(epoch["epoch"]))

    def restore(self, classifier: Classifier, *callbacks: Callback) -> None:
        """Puts the state of a run that had ended training into its objects."""
        load_weights(classifier, self.content, str(self.path))
        for callback in callbacks:
            callback.load_state_dict(self.content["callbacks"][callback.state_key])


def take_up(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The overrides of the run that `cfg.resume` names, then those of this call. InputError where there is no such run, or it works
    still."""
    name, places = str(cfg.resume), []
    folder = find(name, Path(str(cfg.outputs)))
    if folder is None:
        name = elsewhere.full_id(name, cfg)
        folder = find(name, Path(str(cfg.outputs)))
    if folder is not None:
        places = [f"hydra.run.dir={quoted(str(folder.path))}"]
    else:
        folder = elsewhere.bring(name, cfg)
    if folder is None:
        known = "last, a run's folder, an MLflow run's id, its first digits or its name, a checkpoint's path or http(s) address"
        raise InputError(f"resume={shown(cfg.resume)}: no such run in {cfg.outputs} or MLflow; allowed: {known}")
    if is_first_process() and folder.is_alive:
        raise InputError(f"resume={cfg.resume}: the run is at work still, as process {folder.pid}")
    if folder.status == "FINISHED" and not cfg.resume_changes:
        raise InputError(f"resume={cfg.resume}: the run is finished; trainer.max_epochs=<more> resume_changes=true trains it on")
    hidden = [override for override in folder.overrides if HIDDEN in override]
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    for override in hidden:
        if override.partition("=")[0].lstrip("+") not in given:
            raise InputError(f"{override}: is not kept with the run, since it holds a secret: give it again")
    earlier = [override for override in folder.overrides if override not in hidden]
    now = [override for override in overrides if override.partition("=")[0] not in OWN_KEYS[::2]]
    return [*earlier, *now, f"resume={quoted(str(folder.path))}", *places]


def find(name: str, outputs: Path) -> RunFolder | None:
    """The run of this machine that is called "last", by its MLflow id, or by its folder."""
    try:
        if (Path(name) / "run.json").is_file():
            return RunFolder.read(Path(name).resolve())
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"resume={shown(name)}: its run.json is not readable") from None
    there = sorted((folder for folder in folders(outputs) if folder.kind == "run"), key=lambda folder: folder.opened)
    if name == "last" and there:
        return there[-1]
    if name == "last":
        raise InputError(f"resume=last: there is no run in {outputs}")
    for folder in there:
        if name in (folder.key, _mlflow_id(folder.path)):
            return folder
    return None


def _mlflow_id(folder: Path) -> str:
    try:
        return str(json.loads((folder / DELIVERED).read_text())["run_id"])
    except (OSError, ValueError, KeyError):
        return ""


def folder_of(output_dir: Path, cfg: DictConfig, uri: str) -> RunFolder:
    """The run's folder: as it was left, or a new one."""
    if cfg.resume is None:
        return RunFolder(output_dir, Path(str(cfg.outputs)), overrides=_asked_for(), uri=uri)
    folder = RunFolder.read(Path(str(cfg.resume)))
    is_brought = folder.path.resolve() != output_dir.resolve()
    if is_brought:
        folder = elsewhere.settle(folder, output_dir, Path(str(cfg.outputs)))
        folder.uri = uri
    if cfg.resume_changes or is_brought:
        folder.overrides = _asked_for()  # from here on this is the run
    return folder


def _asked_for() -> list[str]:
    return [redact(text) for text in HydraConfig.get().overrides.task if text.partition("=")[0] not in OWN_KEYS]


def load(settings: Settings) -> Resumed | None:
    """The checkpoint that a run goes on from; None for a new run. CheckpointError, or SettingError listing what differs."""
    if settings["resume"] is None:
        return None
    checkpoints = Path(settings["resume"]) / "checkpoints"
    if not any(checkpoints.glob("*.ckpt")) and (run_id := _mlflow_id(checkpoints.parent)) and "uri" in settings["tracking"]:
        elsewhere.fetch_checkpoints(FinishedRun(settings["tracking"]["uri"], run_id), checkpoints)
    path, content, problems = newest(checkpoints)
    if (found := content.get("tunebook", {}).get("format")) != FORMAT:
        raise CheckpointError(f"{path}: is of another version of Tunebook (format {found}, here {FORMAT}), and can't be gone on with")
    return Resumed(path, content, problems, RunFolder.read(checkpoints.parent).origin)


def check(settings: Settings, choices: Mapping[str, str | None]) -> None:
    """What `load` and `apply_changes` would refuse, before anything is made. choices: the chosen option of each group."""
    resumed = load(settings)
    if resumed is None:
        return
    differences = _differences(
        resumed.facts, {"settings": _compared(settings, choices), "environment": {"threads": torch.get_num_threads()}}
    )
    if differences and not settings["resume_changes"]:
        raise InputError(_refusal(differences))


def facts(parts: Parts, cfg: DictConfig, precision: str) -> dict[str, Any]:
    """What every checkpoint of a run holds beside its state, to build it again and to know it again. Plain values, no secrets."""
    return {
        "format": FORMAT,
        "overrides": _asked_for(),
        "config": redact(OmegaConf.to_yaml(cfg, resolve=False)),
        "settings": _compared(plain(cfg), HydraConfig.get().runtime.choices),
        "environment": {"precision": precision, "threads": torch.get_num_threads()},
        "versions": {"torch": str(torch.__version__)},
        "data": data_digests(parts),
    }


def _compared(settings: Settings, choices: Mapping[str, str | None]) -> dict[str, str]:
    chosen = {group: str(choices[group]) for group in ("data", "augmentation", "model", "optimizer", "scheduler")}
    return chosen | {key: redact(str(value)) for key, value in varied(settings).items()}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """key -> "was -> is", of what both know of."""
    found: dict[str, str] = {}
    for room, values in now.items():
        was = before[room]
        keys = {**was, **values} if room == "settings" else values
        found |= {key: f"{was.get(key)} -> {values.get(key)}" for key in keys if was.get(key) != values.get(key)}
    return found


def _refusal(differences: Mapping[str, str]) -> str:
    lines = [f"{key}: {change}" for key, change in differences.items()]
    more = f", and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"resume: the run would not be the same ({'; '.join(lines[:SHOWN])}{more}); resume_changes=true goes on all the same"


def apply_changes(resumed: Resumed, parts: Parts, now: Mapping[str, Any]) -> None:
    """Refuses what differs from the run so far, or with `resume_changes` fits the checkpoint to it."""
    rooms = {room: now[room] for room in ("settings", "environment", "data")}
    differences = _differences(resumed.facts, rooms)
    if differences and not parts.settings["resume_changes"]:
        raise InputError(_refusal(differences))
    resumed.changed = [f"{key}: {change}" for key, change in differences.items()]
    versions = _differences({"versions": resumed.facts["versions"]}, {"versions": now["versions"]})
    resumed.problems += [f"{key} {change}: figures may differ in the last digits" for key, change in versions.items()]
    load_weights(parts.classifier, resumed.content, str(resumed.path))
    if differences:
        adapt(resumed.content, set(differences), parts)
