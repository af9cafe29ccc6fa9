"""Make the schema of one value from the annotation of a constructor's parameter."""

from typing import Any

from pydantic import (
    ConfigDict,
    PydanticInvalidForJsonSchema,
    PydanticSchemaGenerationError,
    TypeAdapter,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import TupleSchema

Schema = dict[str, Any]
# What YAML may hold in place of any value; ??? is Hydra's sign for one that has to be given.
INTERPOLATION = {"interpolation": {"type": "string", "pattern": r"\$\{.+\}|^\?\?\?$"}}


class _Draft7(GenerateJsonSchema):
    """Write JSON Schema draft 7, which most editors support, where pydantic writes a newer one."""

    def tuple_schema(self, schema: TupleSchema) -> Schema:
        """Return the schema of a tuple, whose items had another key in draft 7."""
        found = super().tuple_schema(schema)
        if "prefixItems" in found:
            found["items"] = found.pop("prefixItems")
        return found


def value_schema(annotation: Any) -> Schema | None:
    """Return the schema of an annotation's values, or None if YAML can't hold any of them."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            annotation, config=ConfigDict(arbitrary_types_allowed=True)
        )
        return adapter.json_schema(schema_generator=_Draft7)
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        return None


def setting(value: Schema, comment: str = "", default: Any = "???") -> Schema:
    """Return the schema of a key: a value of its type, or an interpolation.

    default: the default value; "???" if there is none, as in Hydra.
    """
    found: Schema = {"description": comment} if comment else {}
    if default != "???" and _is_plain(default):
        found["default"] = default
    return {**found, **_or_interpolation(value)}


def _or_interpolation(value: Schema) -> Schema:
    """Return the schema that also allows an interpolation, for the value and for each item."""
    if not value:
        return value  # anything is allowed
    choices = [dict(choice) for choice in value.get("anyOf", [value])]
    for choice in choices:
        items = choice.get("items")
        if isinstance(items, dict):
            choice["items"] = _or_interpolation(items)
        elif items is not None:
            choice["items"] = [_or_interpolation(item) for item in items]
    return {"anyOf": [*choices, {"$ref": "#/definitions/interpolation"}]}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
