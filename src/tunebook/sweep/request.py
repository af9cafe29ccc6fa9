"""What a sweep was asked for: its settings, checked, and the name by which the same command finds it again."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunebook.checks import Count, Name, NonNegativeInt, Seconds, Seed, SettingError, Trials, conform
from tunebook.machine import most_processes, processors
from tunebook.sweep.space import Space

# How a sweep is worked off and how far, which does not make it another one.
HOW = (
    "name", "trials", "executor", "workers", "threads", "storage", "trial_timeout", "max_failures", "retry_failed", "join", "dry_run",
    "ray", "slurm",
)  # fmt: skip
TYPES: dict[str, Any] = {
    "name": Name | None, "trials": Trials | None, "executor": Literal["local", "ray", "slurm"], "workers": Count | None,
    "threads": Count | None, "storage": Name | None, "seed": Seed,
    "trial_timeout": Seconds | None, "max_failures": NonNegativeInt | None, "retry_failed": bool, "join": bool, "dry_run": bool,
}  # fmt: skip
PLACES = ("tracking", "outputs", "sweep", "hydra")  # settings that are not the trials' own
LONGEST_NAME, MOST_WORDS = 60, 4  # characters, and settings named, before the digest
MOST_WORKERS, MOST_THREADS = 10_000, 1024  # of a cluster, and of a machine of it
IN_A_NAME = re.compile(r"[^\w.,=+-]+")


@dataclass(frozen=True)
class Request:
    """A sweep as it was asked for. fixed: the settings that every trial has, as words of the command line."""

    kind: str  # the option of the group `sweep`
    parent: str  # the key of the sweep that it belongs to; "": it is one of its own
    settings: Mapping[str, Any]
    space: Space
    fixed: tuple[str, ...]
    objective: str
    direction: Literal["maximize", "minimize"]

    @property
    def is_grid(self) -> bool:
        """Whether every combination is run, and tested; a search draws its points by validation figures and leaves the test alone."""
        return self.settings["sampler"] is None

    @property
    def trials(self) -> int:
        """How many trials make it whole."""
        points = len(self.space.points()) if self.is_grid else None
        return int(points if points is not None else self.settings["trials"])

    def identity(self) -> dict[str, Any]:
        """What makes it this sweep and no other, as plain values."""
        steering = {key: value for key, value in self.settings.items() if key not in (*HOW, "space")}
        own = sorted(text for text in self.fixed if not text.lstrip("+~").startswith(PLACES))
        space = dict(sorted(self.space.described().items()))
        return {"space": space, "settings": own, "sweep": steering, "objective": self.objective}

    @property
    def name(self) -> str:
        """The name given, or what varies with a digest of the whole request."""
        if self.settings["name"] is not None:
            return str(self.settings["name"])
        words = [key.rpartition(".")[2] for key in sorted({dimension.key for dimension in self.space.dimensions})]
        whole = json.dumps([self.identity(), self.settings["trials"]], sort_keys=True)
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        shown = words if len(words) <= MOST_WORDS else [*words[:MOST_WORDS], f"and {len(words) - MOST_WORDS} more"]
        return f"{self.kind} {' '.join(shown)}"[:LONGEST_NAME].strip() + f" {digest}"


def make_request(
    kind: str, parent: str, settings: Mapping[str, Any], space: Space, fixed: Sequence[str], objective: str, mode: str
) -> Request:
    """The sweep that is asked for. SettingError where that makes no sense. settings: of the group `sweep`."""
    for key, allowed in TYPES.items():
        conform(f"sweep.{key}", settings[key], allowed)
    _check_size(settings)
    conform("sweep.ray.address", settings["ray"]["address"], Name | None)
    conform("sweep.slurm.cluster", settings["slurm"]["cluster"], Literal["slurm", "local"])
    conform("sweep.slurm.timeout_min", settings["slurm"]["timeout_min"], Count)
    if not space.dimensions:
        raise SettingError("sweep", "", "nothing varies: -m takes settings with several values, such as optimizer=adam,adadelta")
    if settings["sampler"] is not None and settings["trials"] is None:
        raise SettingError("sweep.trials", None, "must be an integer: a search has no end of its own")
    if settings["sampler"] is None and settings["trials"] is not None:
        raise SettingError(
            "sweep.trials", settings["trials"], "a grid runs every combination; allowed: null, or a search such as sweep=random"
        )
    name = settings["name"]
    if name is not None and (IN_A_NAME.search(name.replace(" ", "")) or len(name) > 2 * LONGEST_NAME or name.strip(". ") != name):
        raise SettingError("sweep.name", name, f"must be letters, digits, spaces and , . = + -, at most {2 * LONGEST_NAME} of them")
    return Request(kind, parent, settings, space, tuple(fixed), objective, "maximize" if mode == "max" else "minimize")


def _check_size(settings: Mapping[str, Any]) -> None:
    """Raise SettingError where a sweep would take more than there is: of this machine, or of any cluster."""
    is_here = settings["executor"] == "local"
    limits = {"workers": most_processes() if is_here else MOST_WORKERS, "threads": processors() if is_here else MOST_THREADS}
    for key, most in limits.items():
        if (value := settings[key]) is not None and value > most:
            why = f": this machine has {processors()} processors" if is_here else ""
            raise SettingError(f"sweep.{key}", value, f"must be at most {most}{why}")


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is different in two identities, a few words each."""
    found: list[str] = []
    for room in now:
        before, here = was.get(room), now[room]
        if isinstance(before, dict) and isinstance(here, dict):
            found += [
                f"{key}: {before.get(key, 'not there')} -> {here.get(key, 'not there')}"
                for key in {**before, **here}
                if before.get(key) != here.get(key)
            ]
        elif isinstance(before, list) and isinstance(here, list):
            found += [f"{text}: no longer" for text in before if text not in here] + [f"{text}: new" for text in here if text not in before]
        elif before != here:
            found.append(f"{room}: {before} -> {here}")
    return found
