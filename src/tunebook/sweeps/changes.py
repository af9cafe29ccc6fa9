"""List how the winner of a sweep differs from the defaults, as a search space of two values each.

Nothing is trained here. An option and the settings below it are different changes. A setting that
only the winner's option has, or that the sweep varied for this option alone, can be changed after
the option.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tunebook.config.compose import compose_config, default_choices
from tunebook.config.quotes import as_text_value
from tunebook.config.validation import SettingError
from tunebook.sweeps.final import Winner
from tunebook.sweeps.space import Dimension, Space, Value, as_text, as_value

CONFIG = "config"


@dataclass(frozen=True)
class Change:
    """Hold one of the winner's changes from the defaults.

    key: of the setting. after: the key of the change that has to come before it, or None.
    """

    key: str
    after: str | None = None


@dataclass(frozen=True)
class Changes:
    """Hold the winner's changes, in the order in which the sweep varied these settings.

    space: a dimension for each of them, whose values are the default and the winner's. A setting
    whose default depends on an option that changes has a dimension for each of the two options.
    """

    changes: tuple[Change, ...]
    space: Space


def changes_of(winner: Winner, fixed: Sequence[str], start: DictConfig) -> Changes:
    """Return how the winner differs from the default configuration.

    fixed: the overrides that all configurations have. start: the config of these alone. Raise
    SettingError if the winner is the default configuration.
    """
    comparison = _Comparison(winner, fixed, start)
    found: list[Change] = []
    dimensions: list[Dimension] = []
    for name in winner.drawn:
        change, own = comparison.of(name)
        if change is not None:
            found.append(change)
            dimensions += own
    if not found:
        raise SettingError(
            "sweep.of", winner.name, "its winner is the default configuration: nothing to explain"
        )
    dimensions.sort(key=lambda one: one.when is not None)  # what others depend on comes first
    choices = {key: str(value) for key, value in start.hydra.runtime.choices.items()}
    return Changes(tuple(found), Space(tuple(dimensions), choices))


class _Comparison:
    """Compare the winner's config with that of the defaults, one setting at a time."""

    def __init__(self, winner: Winner, fixed: Sequence[str], start: DictConfig) -> None:
        self.winner, self.fixed, self.start = winner, fixed, start
        self.end = compose_config(CONFIG, [*fixed, *winner.varied])
        self.values = {name.partition(" (")[0]: value for name, value in winner.drawn.items()}
        self.changed = [
            key for key in self.values if not _same(_get(start, key), _get(self.end, key))
        ]
        self.with_option: dict[str, DictConfig] = {}

    def of(self, name: str) -> tuple[Change | None, list[Dimension]]:
        """Return the change of one parameter of the study and its dimensions, or (None, [])."""
        key, _, condition = name.partition(" (")
        owner = self._owner(key, condition.partition("=")[0])
        before = None if owner is None else _get(self._config_with(owner), key)
        default = _get(self.start, key) if owner is None else before
        if _same(default, _get(self.end, key)):
            return None, []
        if default is _MISSING:
            message = f"has no default that the winner of {self.winner.name} could be compared with"
            raise SettingError(key, as_text(self.values[key]), message)
        if owner is None:
            return Change(key), [self._dimension(key, default)]
        own = self._dimension(key, default, (owner, as_text(self.values[owner])))
        at_start = _get(self.start, key)
        is_free = not condition and at_start is not _MISSING
        if not is_free or _same(at_start, _get(self.end, key)):
            return Change(key, owner), [own]
        if _same(at_start, default):
            return Change(key), [self._dimension(key, default)]
        of_start = as_text(_plain(_get(self.start, owner)))
        return Change(key), [self._dimension(key, at_start, (owner, of_start)), own]

    def _owner(self, key: str, condition: str) -> str | None:
        """Return the key of the change that decides what the default of a setting is.

        condition: the key that the sweep's own space made it depend on, or "".
        """
        if condition in self.changed and self._is_own_change(condition):
            return condition
        group = key.partition(".")[0]
        if group in self.changed and group != key:
            return group
        if _get(self.start, key) is not _MISSING:
            return None
        options = [other for other in self.changed if other in default_choices(CONFIG)]
        found = (one for one in options if _get(self._config_with(one), key) is not _MISSING)
        return next(found, None)

    def _config_with(self, key: str) -> DictConfig:
        """Return the config with one change, and with the option that it belongs to."""
        if key not in self.with_option:
            group = key.partition(".")[0]
            chosen = [one for one in dict.fromkeys([group, key]) if one in self.changed]
            words = [f"{one}={as_text(self.values[one])}" for one in chosen]
            self.with_option[key] = compose_config(CONFIG, [*self.fixed, *words])
        return self.with_option[key]

    def _is_own_change(self, key: str) -> bool:
        """Return whether a changed setting differs from the default of the winner's option, too."""
        group = key.partition(".")[0]
        if group == key or group not in self.changed:
            return True
        return not _same(_get(self._config_with(group), key), _get(self.end, key))

    def _dimension(
        self, key: str, default: object, when: tuple[str, str] | None = None
    ) -> Dimension:
        values = (_plain(default), self.values[key])
        text = f"choice({','.join(map(as_text, values))})"
        return Dimension(key, text, values, when=when)


class _Missing:
    """Stand for the value of a setting that a config does not have."""


_MISSING = _Missing()


def _get(cfg: DictConfig, key: str) -> object:
    """Return the value of a setting, the option of a group, or _MISSING."""
    if key in default_choices(CONFIG):
        return cfg.hydra.runtime.choices.get(key)
    found: Any = OmegaConf.select(cfg, key, default=_MISSING)
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def _same(first: object, second: object) -> bool:
    """Return whether two values are equal; 1 and 1.0 are, 1 and True are not."""
    return first == second and isinstance(first, bool) == isinstance(second, bool)


def _plain(value: object) -> Value:
    """Return a default as an override can give it."""
    return as_text_value(value) if isinstance(value, str) else as_value(value)
