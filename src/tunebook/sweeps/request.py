"""Describe the request for a sweep.

It consists of checked settings, and the name by which the same command finds the sweep again.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from tunebook import machine
from tunebook.config.roles import NOT_OF_A_TRIAL, Role, role_of
from tunebook.config.validation import (
    Count,
    Name,
    NonNegativeInt,
    PositiveSeconds,
    Seconds,
    Seed,
    SettingError,
    format_value,
    validate_value,
)
from tunebook.metrics.facts import Direction, facts_of, tested_name
from tunebook.metrics.objective import check_objective, direction_of
from tunebook.redaction import redacted
from tunebook.sweeps.outside import check_cluster, check_storage
from tunebook.sweeps.plan import Plan
from tunebook.sweeps.space import MAX_TRIALS, Space
from tunebook.text_output import counted

Trials = Annotated[int, Field(ge=1, le=MAX_TRIALS)]
Plans = Literal["ablation", "auto"]  # of a sweep whose trials depend on one another
MinGain = Annotated[float, Field(ge=0, allow_inf_nan=False)]
WORKERS_A_PROCESSOR = 4  # with more, the workers only take turns

TYPES: dict[str, Any] = {
    "name": Name | None, "trials": Trials | None, "executor": Literal["local", "ray", "slurm"],
    "workers": Count | None, "threads": Count | None, "storage": Name | None, "seed": Seed,
    "trial_timeout": PositiveSeconds | None, "patience_s": Seconds,
    "max_failures": NonNegativeInt | None, "retry_failed": bool, "join": bool, "dry_run": bool,
    "test": bool,
}  # fmt: skip
MAX_NAME, MAX_WORDS = 60, 4  # characters, and names of settings, before the digest
IN_A_NAME = re.compile(r"[^\w.,=+-]+")


@dataclass(frozen=True)
class Request:
    """Hold the request for a sweep.

    fixed: the overrides that every trial has. winner: the overrides of another sweep's best trial,
    which all trials have; () for none. plan: what chooses the trials in batches; None for a grid or
    a search.
    """

    kind: str  # the chosen option, or such as "final of <sweep>"; the name begins with it
    winner: tuple[str, ...]
    settings: Mapping[str, Any]
    space: Space
    fixed: tuple[str, ...]
    objective: str
    direction: Literal["maximize", "minimize"]  # of the objective
    images: str | None = None  # the override that says where the user's own images are
    plan: Plan | None = None

    @property
    def is_grid(self) -> bool:
        """Return whether every combination is run.

        A search or a plan chooses its points by validation metrics instead.
        """
        return self.settings["sampler"] is None and self.plan is None

    @property
    def is_final(self) -> bool:
        """Return whether it trains another sweep's winner, on the validation images as well."""
        return "of" in self.settings and self.plan is None

    @property
    def is_auto(self) -> bool:
        """Return whether it searches, and then gives the best configurations more seeds."""
        return self.plan is not None and self.settings["plan"] == "auto"

    @property
    def figure(self) -> str:
        """Return the name of the metric by which its trials are reported.

        It is a test metric if they were trained on the validation images.
        """
        return self.tested if self.is_final else self.objective

    @property
    def tested(self) -> str:
        """Return the name of the test metric by which its trials are reported."""
        return tested_name(self.objective)

    @property
    def figure_direction(self) -> Direction:
        """Return "max" if a higher value of `figure` is better, else "min"."""
        if self.is_final and facts_of(self.figure) is not facts_of(self.objective):
            return facts_of(self.figure).direction
        return "max" if self.direction == "maximize" else "min"

    @property
    def option(self) -> str:
        """Return the chosen option of the group `sweep`."""
        return self.kind.partition(" ")[0] if self.settings.get("of") is not None else self.kind

    @property
    def tests(self) -> bool:
        """Return whether each trial is tested.

        The trials of a search never are, since validation metrics choose among them.
        """
        return self.is_grid and bool(self.settings["test"])

    @property
    def trials(self) -> int:
        """Return how many trials the whole sweep has; with a plan, at most."""
        if self.plan is not None:
            return self.plan.most
        points = len(self.space.points()) if self.is_grid else None
        return int(points if points is not None else self.settings["trials"])

    @property
    def trials_text(self) -> str:
        """Return how many trials the whole sweep has, as text."""
        return counted(self.trials, "trial") if self.plan is None else self.plan.extent

    def identity(self) -> dict[str, Any]:
        """Return what identifies the sweep, as plain values without secrets.

        The study and the sweep's MLflow run store it.
        """
        steering = {
            key: value
            for key, value in self.settings.items()
            if key != "space" and role_of(f"sweep.{key}") == Role.SWEEP
        }
        # Absent as in sweeps that began before this setting existed. The trials of sweep=auto do
        # not depend on it: whether the winner is tested is decided at the end.
        if steering["test"] or self.is_auto:
            del steering["test"]
        own = sorted(text for text in self.fixed if role_of(text) not in NOT_OF_A_TRIAL)
        space = dict(sorted(self.space.described().items()))
        images = {} if self.images is None else {"images": self.images}
        found: dict[str, Any] = redacted(
            {"space": space, "settings": own, "sweep": steering, "objective": self.objective}
            | images
        )
        return found

    @property
    def name(self) -> str:
        """Return the given name, or what varies with a digest of the whole request."""
        if self.settings["name"] is not None:
            return str(self.settings["name"])
        words = [
            key.rpartition(".")[2]
            for key in sorted({dimension.key for dimension in self.space.dimensions})
        ]
        whole = json.dumps([self.identity(), self.settings["trials"]], sort_keys=True)
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        shown = (
            words
            if len(words) <= MAX_WORDS
            else [*words[:MAX_WORDS], f"and {len(words) - MAX_WORDS} more"]
        )
        return f"{self.kind} {' '.join(shown)}"[:MAX_NAME].strip() + f" {digest}"


def make_request(
    kind: str,
    winner: tuple[str, ...],
    settings: Mapping[str, Any],
    space: Space,
    fixed: Sequence[str],
    objective: str,
    mode: Direction,
    images: str | None = None,
    plan: Plan | None = None,
) -> Request:
    """Return the requested sweep.

    Raise SettingError if its settings make no sense. settings: the group `sweep`. images: the
    override that says where the user's own images are. plan: what chooses the trials, if it is
    neither a grid nor a search.
    """
    for key, allowed in TYPES.items():
        validate_value(f"sweep.{key}", settings[key], allowed)
    check_cluster(settings)
    check_storage(settings["storage"])
    _check_processes(settings)
    if not space.dimensions:
        raise SettingError(
            "sweep",
            "",
            "nothing varies: -m takes settings with several values, "
            "such as optimizer=adam,adadelta",
        )
    _check_trials(settings)
    _check_name(settings["name"])
    return Request(
        kind,
        winner,
        settings,
        space,
        tuple(fixed),
        objective,
        "maximize" if mode == "max" else "minimize",
        images,
        plan,
    )


def objective_of(base: DictConfig) -> tuple[str, Direction]:
    """Return the objective of a config, and its direction; raise SettingError for a bad one."""
    chosen = OmegaConf.to_container(base.metrics, resolve=True)
    assert isinstance(chosen, dict)
    metrics = {str(key): value for key, value in chosen.items()}
    objective = check_objective(base.objective, metrics)
    return objective, direction_of(objective, metrics)


def refuse_what_one_run_has(base: DictConfig, fixed: Sequence[str]) -> None:
    """Raise SettingError for what is for a single run only: its folder, `resume` and `find`."""
    if own_folder := [word for word in fixed if word.lstrip("+").startswith("hydra.run.")]:
        key, _, value = own_folder[0].partition("=")
        raise SettingError(key, value, "each trial has its own folder in outputs")
    if base.resume is not None:
        raise SettingError(
            "resume",
            base.resume,
            "resumes a single run, without -m; to resume a sweep, repeat its command",
        )
    if base.find is not None:
        raise SettingError("find", base.find, "is for a single set of settings, without -m")


def _check_trials(settings: Mapping[str, Any]) -> None:
    """Raise SettingError for a number of trials that does not suit a search or a grid."""
    if settings["sampler"] is not None and settings["trials"] is None:
        raise SettingError(
            "sweep.trials", None, "must be an integer: a search does not end by itself"
        )
    if settings["trials"] is not None and settings["trials"] > MAX_TRIALS:
        raise SettingError("sweep.trials", settings["trials"], f"must be at most {MAX_TRIALS}")
    if "plan" in settings:
        _check_plan(settings)
        return
    if settings["sampler"] is None and settings["trials"] is not None:
        raise SettingError(
            "sweep.trials",
            settings["trials"],
            "a grid runs every combination; allowed: null, or a search such as sweep=random",
        )


def _check_plan(settings: Mapping[str, Any]) -> None:
    """Raise SettingError for a setting that a sweep with a plan has no use for."""
    plan = settings["plan"]
    for key in ("trials", "sampler", "pruner", *(["space"] if plan == "ablation" else [])):
        if settings[key] is not None:
            message = f"sweep={plan} chooses its trials itself; allowed: null"
            raise SettingError(f"sweep.{key}", format_value(settings[key]), message)
    if settings["join"]:
        message = f"sweep={plan} has one driver; sweep.workers adds workers; allowed: false"
        raise SettingError("sweep.join", True, message)


def _check_name(name: str | None) -> None:
    """Raise SettingError for a name that is too long, or has characters that are not allowed."""
    if name is not None and (
        IN_A_NAME.search(name.replace(" ", ""))
        or len(name) > 2 * MAX_NAME
        or name.strip(". ") != name
    ):
        raise SettingError(
            "sweep.name",
            name,
            f"must be letters, digits, spaces and , . = + -, at most {2 * MAX_NAME} of them",
        )


def _check_processes(settings: Mapping[str, Any]) -> None:
    """Raise SettingError for more workers or threads than this machine serves.

    Nothing is checked if the workers run on other machines.
    """
    if settings["executor"] == "local" or (
        settings["executor"] == "slurm" and settings["slurm"]["cluster"] == "local"
    ):
        available = machine.processors()
        bounds = {
            "workers": (
                WORKERS_A_PROCESSOR * available,
                f"{WORKERS_A_PROCESSOR} per available processor",
            ),
            "threads": (available, "one per available processor"),
        }
        for key, (most, what) in bounds.items():
            if settings[key] is not None and settings[key] > most:
                raise SettingError(
                    f"sweep.{key}",
                    settings[key],
                    f"must be at most {most}: {what}",
                )


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how two identities differ, a few words for each difference."""
    found: list[str] = []
    for part in now:
        before, here = was.get(part), now[part]
        if isinstance(before, dict) and isinstance(here, dict):
            found += [
                f"{key}: {before.get(key, 'absent')} -> {here.get(key, 'absent')}"
                for key in {**before, **here}
                if before.get(key) != here.get(key)
            ]
        elif isinstance(before, list) and isinstance(here, list):
            found += [f"{text}: no longer" for text in before if text not in here] + [
                f"{text}: new" for text in here if text not in before
            ]
        elif before != here:
            found.append(f"{part}: {before} -> {here}")
    return found
