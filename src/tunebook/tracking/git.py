"""Ask git for the commit and the state of a repository.

The repository is not trusted, so no command that its configuration names is run.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

TIMEOUT_S = 10
# A repository's own configuration can name commands. These values override it.
NEUTRAL = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.askPass": "",
    "core.attributesFile": os.devnull,
    "credential.helper": "",
    "diff.external": "",
    "safe.bareRepository": "explicit",  # an untrusted folder may contain a bare repository
}
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # objects that are missing are not fetched
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # nothing is written
    "GIT_TERMINAL_PROMPT": "0",
}
FILTER = re.compile(r"(?s)filter\.(.+)\.[a-z]+")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def commit_and_state(root: Path) -> tuple[str, bool | None]:
    """Return the commit of the repository that `root` is in, and whether files differ from it.

    The commit is "" if there is no git or no repository, or if the repository is another user's and
    `safe.directory` does not allow it. The state is None if it is not known.
    """
    commit = (_git(root, {}, "rev-parse", "--verify", "HEAD") or "").strip()
    if not COMMIT.fullmatch(commit):
        return "", None
    names = _git(root, {}, "config", "--list", "--name-only", "-z")
    if names is None:
        return commit, None
    # Submodules have their own configurations, which the settings given here do not override.
    changed = _git(
        root,
        _without_filters(names.split("\0")),
        "status",
        "--porcelain",
        "--ignore-submodules=all",
    )
    return commit, None if changed is None else bool(changed.strip())


def _without_filters(keys: Iterable[str]) -> dict[str, str]:
    """Return settings that switch off every filter.

    Without them, comparing files with a commit would run the commands of the filters.
    """
    found = {match[1] for key in keys if (match := FILTER.fullmatch(key))}
    off = {"clean": "", "smudge": "", "process": "", "required": "false"}
    return {f"filter.{name}.{key}": value for name in sorted(found) for key, value in off.items()}


def _git(root: Path, settings: dict[str, str], *arguments: str) -> str | None:
    """Return what git prints, or None if it can't be run or fails."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    } | ENVIRONMENT
    settings = NEUTRAL | settings
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    command = ["git", "--no-pager", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
