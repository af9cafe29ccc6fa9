"""Read the comment and the value of each key in the files of conf/."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from tunebook.config.comments import file_comments
from tunebook.config.compose import default_choices, leaves
from tunebook.config.paths import CONF, config_files
from tunebook.config.targets import kind_at


class Note(NamedTuple):
    """Hold the comment and the value of a key in a file."""

    comment: str
    value: Any


Notes = dict[str, Note]


class Target(NamedTuple):
    """Hold the name of a class in a file, and the notes on the keys beside it.

    place: the dotted path of the object in the config.
    """

    kind: str
    place: str
    name: str
    path: Path
    beside: Notes


def files_of(group: str) -> list[Path]:
    """Return a group's files: shared ones, then the default option, then the others by name."""
    default = default_choices().get(group)

    def order(path: Path) -> tuple[bool, bool, str]:
        return not path.stem.startswith("_"), path.stem != default, path.stem

    return sorted(config_files(group), key=order)


def notes(*paths: Path) -> Notes:
    """Return the note on each dotted key; the first file that has a key provides it."""
    found: Notes = {}
    for path in reversed(paths):
        comment_of = file_comments(path)
        values = leaves(OmegaConf.load(path))
        found |= {key: Note(comment_of.get(key, ""), value) for key, value in values}
    return found


def targets_of(group: str) -> Iterator[Target]:
    """Yield each `_target_` in a group's files."""
    for path in files_of(group):
        own_notes = notes(path)
        for key, (_, target) in own_notes.items():
            place, _, name = f"{group}.{key}".rpartition(".")
            kind = kind_at(place)
            if name == "_target_" and kind is not None:
                prefix = key.removesuffix(name)
                beside = {
                    other.removeprefix(prefix): note
                    for other, note in own_notes.items()
                    if other.startswith(prefix) and other != key
                }
                yield Target(kind, place, target, path, beside)


def group_comments(config_name: str) -> dict[str, str]:
    """Return the comment on each group in a primary config's defaults list."""
    found = file_comments(CONF / f"{config_name}.yaml")
    prefix = "defaults."
    return {key.removeprefix(prefix): text for key, text in found.items() if key.startswith(prefix)}
