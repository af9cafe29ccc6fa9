"""Asking git about a stranger's repository runs nothing that the repository names."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tunebook.tracking import describe


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()


def tags(folder: Path) -> tuple[str, str]:
    found = describe.tags(folder, folder / "train.py", [])
    return found["git.commit"], found["git.dirty"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "file.txt").write_text("one\n")
    (folder / ".gitattributes").write_text("*.txt filter=evil diff=evil\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def touch(folder: Path) -> None:
    """Set the file's time so that git has to compare its content, whose size is the same."""
    os.utime(folder / "file.txt", (1, 1))


def test_commit_and_state(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert tags(repository) == (commit, "false")
    touch(repository)
    assert tags(repository) == (commit, "false")
    (repository / "file.txt").write_text("two\n")
    assert tags(repository) == (commit, "true")
    (repository / "below").mkdir()
    assert tags(repository / "below") == (commit, "true")


def test_no_repository(tmp_path: Path) -> None:
    assert tags(tmp_path) == ("none", "unknown")
    git(tmp_path, "init", "-q")  # without a commit
    assert tags(tmp_path) == ("none", "unknown")
    (tmp_path / ".git" / "config").write_text("no configuration")
    assert tags(tmp_path) == ("none", "unknown")


@pytest.mark.parametrize(
    "settings",
    [
        {"core.fsmonitor": "{}"},
        {"core.fsmonitor": "true", "core.fsmonitorHookVersion": "2"},
        {"filter.evil.clean": "{}"},
        {"filter.evil.process": "{}"},
        {"filter.evil.process": "{}", "filter.evil.required": "true"},
        {"filter.evil.clean": "{}", "filter.evil.smudge": "{}", "filter.evil.required": "true"},
        {"diff.external": "{}"},
        {"diff.evil.command": "{}", "diff.evil.textconv": "{}"},
        {
            "core.pager": "{}",
            "pager.status": "true",
            "pager.rev-parse": "true",
            "pager.config": "true",
        },
        {"core.editor": "{}", "sequence.editor": "{}"},
        {"alias.status": "!{}", "alias.rev-parse": "!{}", "alias.config": "!{}"},
        {"core.askPass": "{}", "credential.helper": "!{}"},
        {"status.submoduleSummary": "true", "diff.submodule": "log"},
        {"gpg.program": "{}", "log.showSignature": "true"},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_a_repositorys_configuration_runs_nothing(
    repository: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    canary = tmp_path / "canary"
    for key, value in settings.items():
        git(repository, "config", key, value.format(f"touch {canary}; false"))
    touch(repository)
    commit, dirty = tags(repository)
    assert len(commit) == 40
    assert dirty == "false"
    assert not canary.exists()
    # The index is unchanged: nothing in the repository is written.
    assert not list((repository / ".git").glob("*.lock"))


@pytest.mark.parametrize("name", ['a"b', "a=b", "a.b", "a b", "é", "a\\b", "UP"])
def test_a_filter_of_any_name_runs_nothing(repository: Path, tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    git(repository, "config", f"filter.{name}.clean", f"touch {canary}; cat")
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text(f"*.txt filter={name}\n")
    touch(repository)
    assert tags(repository)[1] == "false"
    assert not canary.exists()


def test_a_filter_in_an_included_file_runs_nothing(repository: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (repository / ".git" / "more").write_text(
        f'[filter "evil"]\n\tclean = "touch {canary}; cat"\n'
        f'[core]\n\tfsmonitor = "touch {canary}"\n'
    )
    git(repository, "config", "include.path", "more")
    git(repository, "config", "includeIf.gitdir:**.path", "more")
    touch(repository)
    assert tags(repository)[1] == "false"
    assert not canary.exists()


def test_hooks_run_nothing(repository: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hooks = tmp_path / "hooks"
    for folder in (repository / ".git" / "hooks", hooks):
        folder.mkdir(exist_ok=True)
        for name in (
            "post-index-change",
            "fsmonitor-watchman",
            "reference-transaction",
            "query-watchman",
        ):
            (folder / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
            (folder / name).chmod(0o755)
    touch(repository)
    assert tags(repository)[1] == "false"
    git(repository, "config", "core.hooksPath", str(hooks))
    assert tags(repository)[1] == "false"
    assert not canary.exists()


def test_a_submodules_configuration_runs_nothing(repository: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    inner = tmp_path / "inner"
    shutil.copytree(repository, inner)
    git(
        repository,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(inner),
        "module",
    )
    git(repository, "commit", "-qm", "module")
    git(repository / "module", "config", "core.fsmonitor", f"touch {canary}; false")
    git(repository / "module", "config", "filter.evil.clean", f"touch {canary}; cat")
    touch(repository / "module")
    assert tags(repository)[1] == "false"
    assert not canary.exists()


def test_missing_objects_are_not_fetched(repository: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    commands = {
        "core.sshCommand": "touch {}; false",
        "remote.origin.uploadpack": "touch {}; false",
        "core.gitProxy": "touch {}",
    }
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    for url in (
        "ssh://host/x",
        str(tmp_path),
        f"ext::sh -c 'touch {canary}'",
        "git://localhost/x",
        "evil::x",
    ):
        for key, value in commands.items():
            git(repository, "config", key, value.format(canary))
        git(repository, "config", "remote.origin.url", url)
        git(repository, "config", "remote.origin.promisor", "true")
        git(repository, "config", "extensions.partialClone", "origin")
        git(repository, "config", "core.repositoryFormatVersion", "1")
        git(repository, "config", "protocol.ext.allow", "always")
        assert tags(repository)[1] == "unknown"
        assert not canary.exists(), url


@pytest.mark.parametrize(
    "variable",
    ["count", "parameters", "directory", "worktree", "index", "trace", "external", "exec path"],
)
def test_the_environment_does_not_turn_git_elsewhere(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    canary = tmp_path / "canary"
    commit = git(repository, "rev-parse", "HEAD")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    evil = f"touch {canary}; false"
    (other / "git").write_text(f"#!/bin/sh\ntouch {canary}\n")
    values = {
        "count": {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.fsmonitor",
            "GIT_CONFIG_VALUE_0": evil,
        },
        "parameters": {"GIT_CONFIG_PARAMETERS": f"'core.fsmonitor'='{evil}'"},
        "directory": {"GIT_DIR": str(other / ".git")},
        "worktree": {"GIT_WORK_TREE": str(other)},
        "index": {"GIT_INDEX_FILE": str(other / "index")},
        "trace": {"GIT_TRACE": str(canary), "GIT_TRACE2": str(canary)},
        "external": {
            "GIT_EXTERNAL_DIFF": evil,
            "GIT_PAGER": evil,
            "GIT_SSH_COMMAND": evil,
            "GIT_ASKPASS": evil,
        },
        "exec path": {"GIT_EXEC_PATH": str(other)},
    }
    for name, value in values[variable].items():
        monkeypatch.setenv(name, value)
    touch(repository)
    assert tags(repository) == (commit, "false")
    assert not canary.exists()


def test_a_repository_of_somebody_else_is_none(repository: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs the right to give files away")
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345)
    assert tags(repository) == ("none", "unknown")


def test_a_folder_that_looks_like_a_repository_is_none(repository: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (repository / ".git" / "config").write_text(
        f'[core]\n\tbare = false\n\tworktree = "{repository}"\n\tfsmonitor = "touch {canary}"\n'
    )
    disguised = repository / ".git"
    (disguised / "train.py").write_text("")
    assert not canary.exists()
    tags(disguised)
    assert not canary.exists()
