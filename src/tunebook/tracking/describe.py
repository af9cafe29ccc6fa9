"""Describe a run from plain settings: its name, its tags, the versions of its packages."""

import contextlib
import functools
import importlib.metadata
import platform
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebook.config.paths import IS_WHEEL, PROJECT
from tunebook.program import own_call
from tunebook.redaction import redact
from tunebook.tags import PROJECT_CODE, PROJECT_NAME
from tunebook.tracking import git

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "mlflow", "numpy")
MAX_NAME = 200  # characters; MLflow's own limit is 250


def run_name(
    choices: Mapping[str, str],
    default_choices: Mapping[str, str | None],
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> str:
    """Return a run's name: what differs from the default, e.g. "adadelta filters=16 seed=3".

    It always contains the name of the optimizer. Other options follow if they are not the default,
    and then the changed values.
    settings, defaults: flat, with dotted keys. defaults holds the values of the same options.
    """
    words = [
        option
        for group, option in choices.items()
        if group == "optimizer" or option != default_choices.get(group)
    ]
    words += [
        f"{key.rpartition('.')[2]}={value}"
        for key, value in settings.items()
        if defaults.get(key) != value
    ]
    name = redact(" ".join(words))
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 3] + "..."


def tags(root: Path, script: Path, arguments: Sequence[str]) -> dict[str, str]:
    """Return the tags that describe where a run comes from.

    They contain the git commit and its state, the host, the versions, and the command that repeats
    the run.
    root: the top of the user's project, or of the checkout.
    """
    # A wheel is no part of the repository that it may be installed in, or called in.
    is_code = PROJECT is not None or not IS_WHEEL
    commit, changed = git.commit_and_state(root) if is_code else ("", None)
    command = shlex.join(
        [
            *own_call(str(script.relative_to(root) if script.is_relative_to(root) else script)),
            *arguments,
        ]
    )
    found = {
        "command": redact(command),
        "host": socket.gethostname(),
        "cpu": cpu_name(),
        "git.commit": commit or "none",
        "git.dirty": "unknown" if changed is None else str(changed).lower(),
        "python": platform.python_version(),
        "mlflow.source.name": str(script),
        "mlflow.source.type": "LOCAL",
    }
    if commit:
        found["mlflow.source.git.commit"] = commit
    return found | _versions() | project_tags()


def _versions() -> dict[str, str]:
    """Return the versions of the most important packages, by the names of their tags."""
    found = {f"version.{name}": importlib.metadata.version(name) for name in PACKAGES}
    if IS_WHEEL or PROJECT is not None:  # the commit is not Tunebook's
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found["version.tunebook"] = importlib.metadata.version("tunebook")
    return found


def project_tags() -> dict[str, str]:
    """Return the tags that name the user's project and a digest of its code; none without one."""
    if PROJECT is None:
        return {}
    return {PROJECT_NAME: PROJECT.name, PROJECT_CODE: PROJECT.code_digest}


@functools.cache
def package_versions() -> str:
    """Return Python's version and every installed package as `name==version`, one per line."""
    installed = (one.metadata for one in importlib.metadata.distributions())
    found = {f"{one['Name']}=={one['Version']}" for one in installed if one["Name"]}
    return f"# Python {sys.version.split()[0]}\n" + "\n".join(sorted(found, key=str.lower)) + "\n"


def cpu_name() -> str:
    """Return the number and name of the processors, or their architecture if these are unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor() or platform.machine()
