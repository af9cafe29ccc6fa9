"""Read the comments of conf/, which say what each option and key means."""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tunebook.config.compose import default_choices
from tunebook.config.paths import CONF, config_file

KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w.=]+):(?P<value>[^#]*?)(?:\s#\s(?P<comment>.*))?$")


def description(group: str, option: str) -> str:
    """Return the first comment of an option's file that is for a reader.

    The line `# @package` is for Hydra, and `# yaml-language-server` for an editor.
    """
    lines = config_file(group, option).read_text().splitlines()
    return next(
        (
            line.removeprefix("# ")
            for line in lines
            if line.startswith("# ") and not line.startswith(("# @", "# yaml-language-server:"))
        ),
        "",
    )


def comments(config_name: str, choices: dict[str, str | None]) -> dict[str, str]:
    """Return the comment of each dotted key that has one.

    They are read from the primary config and from the files of the chosen options.
    """
    found = file_comments(CONF / f"{config_name}.yaml", "")
    for group in default_choices(config_name):
        choice = choices.get(group)
        if choice:
            for parent in _parents(group, choice):
                found |= file_comments(
                    parent, "" if group in ("experiment", "debug") else f"{group}."
                )
    return found


def _parents(group: str, option: str) -> list[Path]:
    """Return the option's file, preceded by the files of its group that it includes."""
    path = config_file(group, option)
    loaded = OmegaConf.load(path)
    above = loaded.get("defaults", []) if isinstance(loaded, DictConfig) else []
    return [
        p
        for name in above
        if isinstance(name, str) and name != "_self_"
        for p in _parents(group, name)
    ] + [path]


def file_comments(path: Path, prefix: str = "") -> dict[str, str]:
    """Return the comment of each dotted key of a file that has one, with a prefix on the keys."""
    keyed = keyed_lines(path.read_text())
    return {
        prefix + key: match["comment"]
        for key, match in keyed
        if key and match is not None and match["comment"]
    }


def keyed_lines(text: str) -> list[tuple[str, re.Match[str] | None]]:
    """Return each line's dotted key, or "" if it has none, and its match."""
    open_keys: list[tuple[int, str]] = []
    found: list[tuple[str, re.Match[str] | None]] = []
    for line in text.splitlines():
        match = KEY.match(line)
        if match is None:
            found.append(("", None))
            continue
        indent = len(match["indent"])
        open_keys = [(i, key) for i, key in open_keys if i < indent] + [(indent, match["key"])]
        found.append((".".join(key for _, key in open_keys), match))
    return found
