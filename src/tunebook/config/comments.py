"""Read the comments of conf/, which say what each option and key means."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf
from yaml.nodes import MappingNode, Node, SequenceNode

from tunebook.config.compose import default_choices
from tunebook.config.paths import CONF, config_file


class Key(NamedTuple):
    """Hold a key of a YAML text: its dotted path, its line (from 0), and the comment there."""

    path: str
    line: int
    comment: str


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
            whole = group in ("experiment", "debug")
            for path, prefix in _parents(group, choice, "" if whole else f"{group}."):
                found |= file_comments(path, prefix)
    return found


def _parents(group: str, option: str, prefix: str) -> list[tuple[Path, str]]:
    """Return the option's file, preceded by the files of its group that it includes.

    Each has the prefix of its keys in the whole config: `flip@mirror` puts those of flip.yaml into
    `mirror`.
    """
    path = config_file(group, option)
    loaded = OmegaConf.load(path)
    above = loaded.get("defaults", []) if isinstance(loaded, DictConfig) else []
    found: list[tuple[Path, str]] = []
    for entry in above:
        if isinstance(entry, str) and entry != "_self_":
            name, _, place = entry.partition("@")
            found += _parents(group, name, f"{prefix}{place}." if place else prefix)
    return [*found, (path, prefix)]


def file_comments(path: Path, prefix: str = "") -> dict[str, str]:
    """Return the comment of each dotted key of a file that has one, with a prefix on the keys."""
    return {prefix + key.path: key.comment for key in keys_of(path.read_text()) if key.comment}


def keys_of(text: str) -> list[Key]:
    """Return every key of a YAML text; those in a list have the path of the list before them."""
    root = yaml.compose(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return list(_keys_below(root, "", text.splitlines())) if root is not None else []


def _keys_below(node: Node, prefix: str, lines: list[str]) -> Iterator[Key]:
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _keys_below(item, prefix, lines)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            line = key.start_mark.line
            last = value if value.end_mark.line == line else key
            rest = lines[line][last.end_mark.column :].lstrip(": ")
            path = prefix + key.value
            yield Key(path, line, rest[2:] if rest.startswith("# ") else "")
            yield from _keys_below(value, f"{path}.", lines)
