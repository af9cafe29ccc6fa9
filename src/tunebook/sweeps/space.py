"""Define a sweep's search space: settings and their values, in Hydra's override syntax.

They come from the command line and from the sweep's YAML. `optimizer=adam,sgd`, `choice(...)` and
`range(...)` are lists of values. `interval(a, b)`, `int(interval(a, b))` and
`tag(log, interval(a, b))` are ranges for a search. In YAML, a nested `optimizer=adam: {...}` holds
what varies only if that option is chosen.
"""

import itertools
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import HydraException

from tunebook.config.compose import default_choices
from tunebook.config.validation import SettingError
from tunebook.redaction import HIDDEN, is_secret, redact

if TYPE_CHECKING:
    from optuna.trial import Trial

MAX_TRIALS = 10_000  # of a sweep; checking more of them would take hours
MAX_NUMBER = 1e18  # a float holds every integer up to 9e15
Value = str | int | float | bool | None
Point = dict[str, Value]  # the name of each dimension that applies -> its value


@dataclass(frozen=True)
class Dimension:
    """Hold one setting that varies.

    values: the list, or None for the range from `low` to `high`. when: the (key, option) that it
    depends on. is_shipped: whether it comes from an option of conf/sweep/, not from the user.
    """

    key: str
    text: str
    values: tuple[Value, ...] | None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    when: tuple[str, str] | None = None
    is_shipped: bool = False

    @property
    def name(self) -> str:
        """Return the name of the parameter in the study.

        Ranges of one key that depend on different choices are different parameters.
        """
        return f"{self.key} ({self.when[0]}={self.when[1]})" if self.when else self.key

    def written(self) -> dict[str, Any]:
        """Return the fields as plain values, for the record of the sweep."""
        fields = {key: value for key, value in vars(self).items() if key != "is_shipped"}
        return {**fields, "name": self.name}

    def without(self, value: Value) -> "Dimension":
        """Return the same setting without one of its values."""
        values = tuple(other for other in self.values or () if other != value)
        text = f"choice({','.join(as_text(other) for other in values)})"
        return replace(self, values=values, text=text)

    def suggest(self, trial: "Trial") -> Value:
        """Return a value drawn by the study's sampler."""
        if self.values is not None:
            drawn: Value = trial.suggest_categorical(self.name, self.values)
            return drawn
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def applies(self, chosen: Mapping[str, Value]) -> bool:
        """Return whether the setting applies when these keys have these values."""
        return self.when is None or str(chosen.get(self.when[0])) == self.when[1]


@dataclass(frozen=True)
class Space:
    """Hold every setting that varies; settings that others depend on come first.

    given: the values of the other settings that something depends on.
    """

    dimensions: tuple[Dimension, ...]
    given: Mapping[str, str]

    def suggest(self, trial: "Trial") -> None:
        """Draw a value for every setting that applies."""
        chosen: dict[str, Value] = dict(self.given)
        for dimension in self.dimensions:
            if dimension.applies(chosen):
                chosen[dimension.key] = dimension.suggest(trial)

    def without_missing(self, keys: Container[str]) -> tuple["Space", list[str]]:
        """Return the space without shipped settings that no config has, and their keys."""
        missing = [
            one.key
            for one in self.dimensions
            if one.is_shipped and one.when is None and one.key not in keys
        ]
        kept = tuple(one for one in self.dimensions if one.key not in missing)
        return Space(kept, self.given), list(dict.fromkeys(missing))

    def without_unfit(self, key: str, value: object) -> "Space | None":
        """Return the space without a shipped value that can't run.

        Return None if the value is not shipped, or is the only one of its setting.
        """
        for number, one in enumerate(self.dimensions):
            fits = one.is_shipped and one.key == key and one.values is not None
            if fits and value in (one.values or ()) and len(one.values or ()) > 1:
                changed = (
                    *self.dimensions[:number],
                    one.without(as_value(value)),
                    *self.dimensions[number + 1 :],
                )
                return Space(changed, self.given)
        return None

    def points(self) -> list[Point]:
        """Return every combination of values.

        Raise SettingError if a setting has a range, or if there are too many combinations.
        """
        for dimension in self.dimensions:
            if dimension.values is None:
                message = (
                    "a grid needs values; a range is for a search: sweep=random, sobol, tpe or asha"
                )
                raise SettingError(dimension.key, dimension.text, message)
        found = list(itertools.islice(self._combinations(0, dict(self.given), {}), MAX_TRIALS + 1))
        if len(found) > MAX_TRIALS:
            names = ", ".join(dict.fromkeys(dimension.key for dimension in self.dimensions))
            message = (
                f"make more than {MAX_TRIALS} combinations; "
                "a search draws some of them: sweep=random"
            )
            raise SettingError("sweep", names, message)
        return found

    def _combinations(self, number: int, chosen: dict[str, Value], point: Point) -> Iterator[Point]:
        if number == len(self.dimensions):
            yield point
            return
        dimension = self.dimensions[number]
        if not dimension.applies(chosen):
            yield from self._combinations(number + 1, chosen, point)
            return
        for value in dimension.values or (dimension.low, dimension.high):
            yield from self._combinations(
                number + 1, chosen | {dimension.key: value}, point | {dimension.name: value}
            )

    def corners(self, most: int) -> list[Point]:
        """Return points that together contain each value and each end of a range, for a check.

        There are at most `most` of them, so a large space is not covered completely.
        """
        whole = list(itertools.islice(self._combinations(0, dict(self.given), {}), 20_000))
        found: list[Point] = []
        seen: set[tuple[str, Value]] = set()
        for point in whole:
            if new := set(point.items()) - seen:
                seen |= new
                found.append(point)
        return found[:most]

    def overrides(self, point: Mapping[str, Any]) -> list[str]:
        """Return a point as overrides of the command line."""
        return [f"{d.key}={as_text(point[d.name])}" for d in self.dimensions if d.name in point]

    def described(self) -> dict[str, str]:
        """Return the name of each parameter -> its values or range, as text."""
        return {dimension.name: dimension.text for dimension in self.dimensions}


def as_text(value: Value) -> str:
    """Return a value as the command line accepts it.

    Text is kept as it was written there.
    """
    if value is None:
        return "null"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else repr(value)
        if isinstance(value, float)
        else str(value)
    )


def as_value(value: object) -> Value:
    """Return a plain value as it is, and anything else as text.

    Numbers remain numbers, so that a sampler knows their order.
    """
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def in_short(words: Sequence[str]) -> str:
    """Return overrides in a short form for display; if a key is given twice, the last one counts.

    `optimizer.lr=0.00123456` becomes `lr=0.001235`, and `optimizer=adam` becomes `adam`.
    """
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        found[key] = (
            value if key in default_choices() else f"{key.rpartition('.')[2]}={shortened(value)}"
        )
    return " ".join(found.values())


def shortened(value: str) -> str:
    """Return a number with four digits, and anything else unchanged."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value


def split(overrides: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Return the overrides that apply to the whole sweep, and those that vary.

    Raise SettingError for an override that can't be parsed.
    """
    fixed: list[str] = []
    varying: list[Override] = []
    for text in overrides:
        override = _parsed(text)
        if override.is_sweep_override():
            varying.append(override)
        else:
            fixed.append(text)
    return fixed, varying


def _parsed(text: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    # An integer with thousands of digits causes a ValueError.
    except (HydraException, ValueError) as error:
        raise SettingError(
            text.partition("=")[0], text.partition("=")[2], " ".join(str(error).split())
        ) from None
    return override


def make_space(
    varying: Sequence[Override],
    written: Mapping[str, Any],
    fixed: Mapping[str, str],
    given: Mapping[str, str],
    is_shipped: bool = False,
) -> Space:
    """Return the search space; a key on the command line replaces the one in YAML.

    written: the sweep's `space`. fixed: settings of the command line, which don't vary. given: the
    chosen options. is_shipped: whether `written` is unchanged from conf/sweep/.
    """
    from_line = [_dimension(override, None) for override in varying]
    keys = {dimension.key for dimension in from_line} | set(fixed)
    from_yaml = [
        replace(dimension, is_shipped=is_shipped)
        for dimension in _written(written, None)
        if dimension.key not in keys
    ]
    dimensions = sorted([*from_yaml, *from_line], key=lambda dimension: dimension.when is not None)
    return Space(tuple(dimensions), {**given, **fixed})


def _written(written: Mapping[str, Any], when: tuple[str, str] | None) -> Iterator[Dimension]:
    for key, value in written.items():
        if isinstance(value, Mapping):
            condition, _, option = str(key).partition("=")
            if not option or when is not None:
                raise SettingError(
                    f"sweep.space.{key}",
                    value,
                    "contains settings for one option: write the key as optimizer=adam",
                )
            yield from _written(value, (condition, option))
            continue
        if not isinstance(value, str):
            raise SettingError(
                f"sweep.space.{key}",
                value,
                "does not vary: write choice(...), range(...) or interval(...)",
            )
        override = _parsed(f"{key}={value}")
        if not override.is_sweep_override():
            raise SettingError(
                f"sweep.space.{key}",
                value,
                "does not vary: write choice(...), range(...) or interval(...)",
            )
        yield _dimension(override, when)


def _dimension(override: Override, when: tuple[str, str] | None) -> Dimension:
    key, value, text = (
        override.get_key_element(),
        override.value(),
        (override.input_line or "").partition("=")[2],
    )
    _refuse_secrets(key, text)
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"}:
        raise SettingError(
            key, text, f"the only tag is log, not {', '.join(sorted(tags - {'log'}))}"
        )
    if isinstance(value, IntervalSweep):
        return _range(key, text, value, when)
    if isinstance(value, Glob):
        raise SettingError(key, text, "glob(...) is not supported: name the options")
    if isinstance(value, RangeSweep):
        _check_length(key, text, value)
    try:
        values = [
            as_value(item) for item in override.sweep_iterator(transformer=Transformer.encode)
        ]
    except (ValueError, TypeError, OverflowError, HydraException) as error:
        raise SettingError(key, text, f"can't be listed: {' '.join(str(error).split())}") from None
    if not values:
        raise SettingError(key, text, "contains no value")
    _check_count(key, text, len(values))
    if len({_same(item) for item in values}) < len(values):
        raise SettingError(key, text, "contains a value twice")
    return Dimension(key, text, tuple(values), when=when)


def _refuse_secrets(key: str, text: str) -> None:
    """Raise SettingError if the values are secrets.

    The study's database stores these values unredacted.
    """
    allowed = "can't vary in a sweep, because the study stores every value"
    if set(text.replace(" ", "").lower().split(",")) <= {"true", "false", "null"}:
        return  # a boolean reveals nothing
    if is_secret(key):
        raise SettingError(key, HIDDEN, f"is named like a secret, and {allowed}")
    if redact(text) != text:
        raise SettingError(key, HIDDEN, f"contains a secret, and {allowed}")


def _same(value: Value) -> tuple[str, object]:
    """Return a key that distinguishes values: 1 and 1.0 are equal, 1 and true are not."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ("number", value) if is_number else (type(value).__name__, str(value))


def _range(key: str, text: str, value: IntervalSweep, when: tuple[str, str] | None) -> Dimension:
    low, high, log = value.start, value.end, "log" in value.tags
    if not (_is_number(low) and _is_number(high)):
        raise SettingError(key, text, "must go from one finite number to another")
    assert low is not None
    assert high is not None
    if not low < high or (log and low <= 0):
        raise SettingError(
            key, text, "must go from a lower to a higher value" + (", above 0" if log else "")
        )
    return Dimension(key, text, None, low, high, log, when)


def _is_number(value: object) -> bool:
    """Return whether a value is a number that may be the end of a range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) < MAX_NUMBER


def _check_length(key: str, text: str, value: RangeSweep) -> None:
    """Raise SettingError for a range that has no end, or too many values to list."""
    start, stop, step = value.start, value.stop, value.step
    if not (_is_number(start) and _is_number(stop) and _is_number(step)) or not step:
        raise SettingError(
            key, text, "must go from one finite number to another, by a step that is not 0"
        )
    assert start is not None
    assert stop is not None
    _check_count(key, text, math.ceil((stop - start) / step))


def _check_count(key: str, text: str, count: int) -> None:
    if count > MAX_TRIALS:
        raise SettingError(key, text, f"contains {count} values: must be at most {MAX_TRIALS}")
