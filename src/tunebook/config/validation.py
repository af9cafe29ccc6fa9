"""Check each setting's type and range where the setting is used.

A constructor states both in its annotations (`filters: Count`, `conv_dropout: Dropout`), and
`@validate_args` enforces them. `instantiate` does the same for a library's class, using the
library's own annotations. A wrong setting raises `SettingError`. Its text is one line for the user:
the key, the value, what is allowed, and the nearest valid name.
"""

import contextlib
import difflib
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ParamSpec, Self, TypeVar

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
)

from tunebook.redaction import redact
from tunebook.text_output import printable

P = ParamSpec("P")
T = TypeVar("T")

# The largest weight (float32), and the largest size or seed in PyTorch (int64). Larger numbers
# overflow inside a library.
LARGEST_FLOAT = 3.4028234663852886e38
LARGEST_INT = 2**63 - 1
YEAR_S = 365 * 24 * 3600

Count = Annotated[int, Field(ge=1)]
WIDEST = 2**20
# A layer's width. The size of a matrix between two such layers still fits into int64.
Width = Annotated[int, Field(ge=1, le=WIDEST)]
# A waiting time. A year is far below the limit of the operating system's clocks.
Seconds = Annotated[float, Field(ge=0, le=YEAR_S, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=YEAR_S, allow_inf_nan=False)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Dropout = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
OpenFraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Name = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]
ExperimentName = Annotated[Name, Field(max_length=250)]  # the limit of MLflow's database


class InputError(ValueError):
    """Report external input (a file, a run's id) that can't be used.

    Its text is one line that says what is wrong, where, and what to do about it.
    """


class SettingError(ValueError):
    """Report a setting that can't be used.

    `key` is dotted, relative to the class that refused it. `under` puts the config's path first.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        is_missing = format_value(value) in ("null", "") and allowed.startswith("is required")
        subject = key if is_missing else f"{key}={format_value(value)}:"
        super().__init__(f"{subject} {allowed}")
        self.key, self.value, self.allowed = key, value, allowed

    def under(self, where: str) -> Self:
        """Return the same error with `where` before its key: `filters` becomes `model.filters`."""
        return type(self)(f"{where}.{self.key}", self.value, self.allowed)


def format_value(value: object) -> str:
    """Return a value as a user would write it on the command line.

    The text is on one line, has at most 80 characters, and has its secrets redacted.
    """
    try:
        text = (
            {None: "null", True: "true", False: "false"}.get(value)
            if value is None or isinstance(value, bool)
            else str(value)
        )
    except ValueError:  # Python refuses to print an integer with so many digits
        return f"(a number of more than {sys.get_int_max_str_digits()} digits)"
    text = redact(one_line(str(text)))  # before cutting: a cut secret would not be recognized
    return text if len(text) <= 80 else text[:77] + "..."


def one_line(text: str) -> str:
    """Return a text on one line, with control characters escaped, because terminals obey them."""
    return printable(" ".join(text.split()))


def suggest(word: str, words: Iterable[object]) -> str:
    """Return the hint " Did you mean ...?", or "" if none of `words` is similar to `word`."""
    match = difflib.get_close_matches(str(word), [str(w) for w in words], n=1, cutoff=0.5)
    return f" Did you mean '{match[0]}'?" if match else ""


def validate_value(key: str, value: Any, annotation: Any) -> Any:
    """Return `value` as the type that `annotation` states.

    The check is strict: text is not a number, and true is not 1. The exceptions are what YAML and
    the command line cannot express: 1e3 is accepted as the integer 1000, and a list as a tuple.
    Raises SettingError if the value does not fit.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(key, value, "must be a finite number")
    clipped = _clipped(value)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            annotation, config=ConfigDict(arbitrary_types_allowed=True)
        )
    except PydanticSchemaGenerationError:
        return value  # an annotation that pydantic can't check, such as a library's own class
    candidates = [clipped, *([whole] if repr(whole := _whole(clipped)) != repr(clipped) else [])]
    candidates += [tuple(one) for one in candidates if isinstance(one, list)]
    first: ValidationError | None = None
    for candidate in candidates:
        try:
            found = adapter.validate_python(candidate, strict=True)
        except ValidationError as error:
            # For a whole number written as 1e9, the integer's error is the more helpful one.
            first = error if first is None or isinstance(candidate, int) else first
            continue
        if clipped is not value:
            raise SettingError(key, value, _too_large(value))
        return found
    assert first is not None
    raise SettingError(key, value, _requirement(first, value, annotation))


def _whole(value: Any) -> Any:
    """Return a value with each whole float in it, or in a list in it, as an integer."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _too_large(value: object) -> str:
    if isinstance(value, int):
        return f"must be between -{LARGEST_INT} and {LARGEST_INT}"
    if isinstance(value, float):
        return f"must be between -{LARGEST_FLOAT:.3g} and {LARGEST_FLOAT:.3g}"
    return (
        f"must contain finite numbers of at most {LARGEST_FLOAT:.3g}, "
        f"integers of at most {LARGEST_INT}"
    )


def _clipped(value: Any) -> Any:
    """Return the value itself if all its numbers can be stored, else a copy with clipped numbers.

    Numbers that are too large or not finite are replaced by the largest that is allowed.
    """
    if isinstance(value, float) and not abs(value) <= LARGEST_FLOAT:
        return math.copysign(LARGEST_FLOAT, value)
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        return LARGEST_INT if value > 0 else -LARGEST_INT
    if isinstance(value, list | tuple):
        items = [_clipped(item) for item in value]
        return (
            value
            if all(new is old for new, old in zip(items, value, strict=True))
            else type(value)(items)
        )
    if isinstance(value, dict):
        pairs = {name: _clipped(item) for name, item in value.items()}
        return value if all(pairs[name] is value[name] for name in value) else pairs
    return value


def _requirement(error: ValidationError, value: object, annotation: Any) -> str:
    """Return in one line what is allowed, based on pydantic's messages."""
    messages = dict.fromkeys(
        e["msg"].replace("Input should be ", "must be ").removeprefix("Value error, ")
        for e in error.errors()
        if e["type"] != "is_instance_of"
    )
    # A union reports one error for each member. Together they are what is allowed.
    text = " or ".join(messages) or str(error.errors()[0]["msg"])
    hint = suggest(format_value(value), _choices(annotation))
    return f"{text}.{hint}" if hint else text


def _choices(annotation: Any) -> list[object]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated):
        return [choice for part in typing.get_args(annotation) for choice in _choices(part)]
    return []


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's annotations without those that can't be evaluated at run time.

    A library may import the names in them for type checkers alone.
    """
    found: dict[str, Any] = {}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    for name, annotation in getattr(function, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(NameError, TypeError):
            found |= typing.get_type_hints(alone, names, include_extras=True)
    return found


def parameters_of(cls: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that settings can name, with their annotations evaluated."""
    hints = _annotations(cls.__init__ if inspect.isclass(cls) else cls)
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def validate_args(init: Callable[P, T]) -> Callable[P, T]:
    """Decorate a constructor so that each argument must fit its annotation.

    The constructor raises SettingError, with the argument's name as key, for one that does not fit.
    """
    signature, hints = inspect.signature(init), _annotations(init)

    @functools.wraps(init)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = validate_value(name, value, hints[name])
        return init(*bound.args, **bound.kwargs)

    return wrapper


def instantiate(
    cls: Callable[..., Any], settings: Mapping[str, Any], where: str, **given: Any
) -> Any:
    """Return `cls(**given, **settings)`, with each setting checked against the annotations.

    where: the settings' path in the config, for the error. given: arguments that come from the
    program instead of the config. A class receives only those for which its constructor has a
    parameter, such as `image_shape` or `seed`. Raises SettingError for a setting that is unknown,
    missing, of the wrong type or refused.
    """
    parameters = parameters_of(cls)
    given = {
        name: value for name, value in given.items() if name in parameters and name not in settings
    }
    for key in settings:
        if key not in parameters:
            allowed = [name for name in parameters if name not in given and name != "self"]
            raise SettingError(
                f"{where}.{key}", settings[key], f"no such setting.{suggest(key, allowed)}"
            )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in settings and name not in given:
            raise SettingError(f"{where}.{name}", None, "is required")
    values = {
        key: validate_value(f"{where}.{key}", value, parameters[key].annotation)
        for key, value in settings.items()
    }
    try:
        return cls(**given, **values)
    except InputError:  # a file that can't be used
        raise
    except SettingError as error:
        raise error.under(where) from None
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        # torch reports a tensor of a negative size as RuntimeError.
        raise _attribute_error(str(error), where, settings) from error


def _attribute_error(message: str, where: str, settings: Mapping[str, Any]) -> SettingError:
    """Return a library's error as SettingError, for the setting whose name its message mentions."""
    named = [key for key in settings if key.rstrip("s") in message.lower()]
    if len(named) == 1:
        return SettingError(f"{where}.{named[0]}", settings[named[0]], message)
    return SettingError(where, dict(settings), message)
