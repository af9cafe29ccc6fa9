"""Give every setting its role, in one table.

What resuming refuses, what reproducing repeats, what identifies a sweep, what MLflow logs as a
parameter and what compare calls a setting all follow from the roles.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

Value = TypeVar("Value")


SEED = "seed"
# The number of parts of a cross-validation, and the part that validates.
FOLDS, FOLD = "data.folds", "data.fold"


class Role(StrEnum):
    """Name what a setting is for."""

    RESULT = "result"  # changes what is learnt
    DATA = "data"  # which images there are; MLflow holds their digests
    SEED = "seed"  # which random numbers are drawn, and which images validate
    SELECTION = "selection"  # what is measured, and which epoch is reported
    PRESET = "preset"  # an option that chooses other settings
    DEVICE = "device"  # where it is computed: the same result, but for rounding
    EXECUTION = "execution"  # how fast it is computed: the same result to the bit
    RECORD = "record"  # how it is named and shown
    LOCATION = "location"  # where files and services are on this machine
    CALL = "call"  # what this call does: which run it resumes, or what it finds
    SWEEP = "sweep"  # which runs a sweep consists of
    DRIVER = "driver"  # how a sweep is carried out, and how far: the same sweep


# A key that ends with a dot stands for all settings below it, unless they have a line of their own.
ROLES: Mapping[str, Role] = {
    "data": Role.DATA,
    "data.source": Role.DATA,
    "data.source.": Role.DATA,
    "data.root": Role.LOCATION,
    "data.table": Role.LOCATION,
    FOLD: Role.SEED,
    "data.cache": Role.EXECUTION,
    "data.cache_root": Role.LOCATION,
    "data.eval_batch_size": Role.EXECUTION,
    "data.num_workers": Role.EXECUTION,
    SEED: Role.SEED,
    "objective": Role.SELECTION,
    "tested_weights": Role.SELECTION,
    "metrics": Role.SELECTION,
    "metrics.": Role.SELECTION,
    "experiment": Role.PRESET,
    "debug": Role.PRESET,
    "trainer": Role.DEVICE,
    "trainer.accelerator": Role.DEVICE,
    "trainer.strategy": Role.DEVICE,
    "trainer.compile": Role.DEVICE,
    "trainer.max_time": Role.EXECUTION,
    "trainer.progress_bar": Role.RECORD,
    "model.weights_root": Role.LOCATION,
    "checkpoint_every_s": Role.EXECUTION,
    "experiment_name": Role.RECORD,
    "outputs": Role.LOCATION,
    "tracking": Role.LOCATION,
    "tracking.": Role.LOCATION,
    "hydra": Role.LOCATION,
    "hydra.": Role.LOCATION,
    "resume": Role.CALL,
    "resume_changes": Role.CALL,
    "find": Role.CALL,
    "sweep": Role.SWEEP,
    "sweep.": Role.SWEEP,
    "sweep.name": Role.DRIVER,
    "sweep.storage": Role.LOCATION,
    "sweep.trials": Role.DRIVER,
    "sweep.budget": Role.DRIVER,
    "sweep.min_gain": Role.DRIVER,
    "sweep.executor": Role.DRIVER,
    "sweep.workers": Role.DRIVER,
    "sweep.threads": Role.DRIVER,
    "sweep.trial_timeout": Role.DRIVER,
    "sweep.max_failures": Role.DRIVER,
    "sweep.retry_failed": Role.DRIVER,
    "sweep.join": Role.DRIVER,
    "sweep.dry_run": Role.DRIVER,
    "sweep.patience_s": Role.DRIVER,
    "sweep.ray": Role.DRIVER,
    "sweep.ray.": Role.DRIVER,
    "sweep.slurm": Role.DRIVER,
    "sweep.slurm.": Role.DRIVER,
}

# What MLflow logs as parameters, and what a resumed run must have as before.
LOGGED = frozenset({Role.RESULT, Role.SEED, Role.SELECTION, Role.PRESET, Role.DEVICE})
# What compare draws conclusions about. Where times are compared, the device is one of them.
COMPARED = frozenset({Role.RESULT, Role.DATA})
# What another machine, or another call on this one, decides for itself.
OF_THIS_CALL = frozenset({Role.LOCATION, Role.CALL})
# What does not belong to the configuration of a run in a sweep.
NOT_OF_A_TRIAL = OF_THIS_CALL | {Role.SWEEP, Role.DRIVER}
# What is the same for all runs of a sweep.
SHARED_IN_A_SWEEP = NOT_OF_A_TRIAL | {Role.RECORD}
# What a stored config may refer to, such as `${optimizer.lr}`: no path, no address, no secret.
REFERABLE = frozenset({Role.RESULT, Role.SEED, Role.SELECTION, Role.DEVICE})


def repeats(key: str) -> bool:
    """Return whether a setting only repeats a configuration: a seed, or a fold."""
    return role_of(key) is Role.SEED


def key_of(override: str) -> str:
    """Return the key that an override sets, such as `data.root` of `++data.root=/x`."""
    return override.partition("=")[0].strip().lstrip("+~").partition("@")[0].replace("/", ".")


def role_of(key: str) -> Role:
    """Return the role of a setting; it is `result` for settings that are not in the table.

    key: a dotted key, such as `data.root`, or an override, such as `data.root=/x`.
    """
    key = key_of(key)
    if key in ROLES:
        return ROLES[key]
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (prefix := ".".join(parts[:length]) + ".") in ROLES:
            return ROLES[prefix]
    return Role.RESULT


def with_role(settings: Mapping[str, Value], roles: Iterable[Role]) -> dict[str, Value]:
    """Return the settings with one of these roles."""
    wanted = frozenset(roles)
    return {key: value for key, value in settings.items() if role_of(key) in wanted}
