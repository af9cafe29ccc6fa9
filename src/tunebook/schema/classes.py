"""Make the schema of settings with a `_target_`: each class that an editor knows, and its keys.

A class that it does not know is allowed as well, with any keys, if a config may name it.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from tunebook.config.comments import description
from tunebook.config.compose import default_choices
from tunebook.config.targets import KINDS, NAMED, classes_in, resolve, trusted
from tunebook.config.validation import Positive, parameters_of
from tunebook.data import ImageDataModule
from tunebook.data.image_files import ImageTable
from tunebook.runs.assemble import Interval
from tunebook.schema.notes import Notes, Target, files_of, notes, targets_of
from tunebook.schema.values import Schema, setting, value_schema
from tunebook.training.trainer import FURTHER

# Of these, only the classes in conf/ are known: most others need objects that YAML can't hold.
ONLY_SHIPPED = (*NAMED, "sweep.sampler", "sweep.pruner")
# Settings of `data` that the sources of image files take from there.
OF_SOURCES = {name: each.annotation for name, each in parameters_of(ImageTable).items()}
# The parameters that the program sets itself.
GIVEN: dict[str, Iterable[str]] = {
    "data.source": OF_SOURCES,
    "data": ("source", "augmentation", "seed", "contents"),
    "model": ("image_shape", "num_classes", "normalized"),
    "loss": ("num_classes", "class_counts"),
    "metrics": ("num_classes",),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "total_steps"),
    "tracking": ("also",),
    "tracking.also": ("save_dir", "run_name", "run_key"),
    "trainer": ("output_dir", "callbacks", "checkpoint_io", "logger"),
}
# What the program checks in addition to the constructors, or in their place.
OWN: dict[str, dict[str, Any]] = {
    "data": {
        name: annotation
        for name, annotation in OF_SOURCES.items()
        if name not in parameters_of(ImageDataModule)
    },
    "optimizer": {"lr": Positive},
    "trainer": FURTHER,
    "scheduler": {"interval": Interval},
}


def kind_definitions(kind: str) -> dict[str, Schema]:
    """Return the schema of a kind's settings, under the kind's name, and those that it refers to.

    Settings without a `_target_` may have each key that a known class has: they come on top of
    settings that name one.
    """
    shipped = [each for each in targets_of(kind.partition(".")[0]) if each.kind == kind]
    classes = _known(kind, shipped)
    found = {target: _class(kind, classes[target], target, shipped) for target in sorted(classes)}
    when = [
        {
            "if": {"properties": {"_target_": {"const": target}}, "required": ["_target_"]},
            "then": {"$ref": f"#/definitions/{target}"},
        }
        for target in found
    ]
    without = {
        "if": {"not": {"required": ["_target_"]}},
        "then": {"$ref": f"#/definitions/{kind}.any"},
    }
    return {
        kind: {
            "type": "object",
            "properties": {"_target_": _target(kind, found)},
            "allOf": [*when, without],
        },
        f"{kind}.any": closed(_merged(schema["properties"] for schema in found.values())),
        **found,
    }


def closed(properties: Schema) -> Schema:
    """Return the schema of settings that have these keys and no other."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def arguments(function: Callable[..., Any], kind: str, key_notes: Notes) -> Schema:
    """Return the schema of each parameter that a config can set."""
    found: Schema = {}
    own = OWN.get(kind, {})
    for name, annotation in own.items():
        found[name] = setting(value_schema(annotation) or {}, *key_notes.get(name, ()))
    for name, parameter in parameters_of(function).items():
        value = value_schema(parameter.annotation)
        if name not in GIVEN.get(kind, ()) and name not in own and value is not None:
            default = "???" if parameter.default is parameter.empty else parameter.default
            found[name] = setting(value, *key_notes.get(name, ("", default)))
    return found


def _known(kind: str, shipped: list[Target]) -> dict[str, type[Any]]:
    """Return the classes that an editor knows, by the names that a config has for them."""
    found = {each.name: resolve(each.name, kind, f"{kind}._target_") for each in shipped}
    if kind not in ONLY_SHIPPED:
        for module in KINDS[kind].modules:
            found |= {
                f"{module}.{name}": each
                for name, each in classes_in(module, kind).items()
                if f"{each.__module__}.".startswith(f"{module}.")
                and not name.startswith("_")
                and _can_be_made(each, kind)
            }
    return found


def _can_be_made(found: type[Any], kind: str) -> bool:
    """Return whether YAML is known to hold every argument that the class requires."""
    return not inspect.isabstract(found) and all(
        value_schema(parameter.annotation)
        for name, parameter in parameters_of(found).items()
        if parameter.default is parameter.empty and name not in GIVEN.get(kind, ())
    )


def _class(kind: str, found: type[Any], target: str, shipped: list[Target]) -> Schema:
    key_notes: Notes = {}
    about = (inspect.getdoc(found) or "").partition("\n")[0]
    for each in reversed(shipped):  # what the first says counts
        if each.name == target:
            key_notes |= each.beside
            about = description(kind, each.path.stem) if kind in default_choices() else about
    elsewhere = notes(*files_of(kind)) if kind in default_choices() else {}
    key_notes = {key: elsewhere[key] for key in OWN.get(kind, {}) if key in elsewhere} | key_notes
    more: Schema = {"_target_": True}
    if kind in default_choices() and kind not in NAMED:
        more["defaults"] = True  # of the whole file; a named object is a part of one
    more |= {
        part: _below(f"{kind}.{part}", key_notes)
        for part in parameters_of(found)
        if f"{kind}.{part}" in KINDS
    }
    return {"description": about, **closed({**more, **arguments(found, kind, key_notes)})}


def _below(kind: str, key_notes: Notes) -> Schema:
    """Return the schema of the object of another kind that a class takes, or of the named ones."""
    one = {"$ref": f"#/definitions/{kind}"}
    if kind not in NAMED:
        return one
    named = {"type": "object", "additionalProperties": one}
    comment = key_notes[kind.rpartition(".")[2]].comment
    return {"description": comment, "anyOf": [named, {"type": "null"}]}


def _target(kind: str, known: dict[str, Schema]) -> Schema:
    modules = "|".join(map(re.escape, trusted(kind)))
    other: Schema = {"type": "string", "pattern": rf"^({modules})(\.[A-Za-z]\w*)+$"}
    if refused := KINDS[kind].refused:
        other["not"] = {"pattern": rf"\.({'|'.join(refused)})$"}
    names = {
        "enum": list(known),
        "enumDescriptions": [schema["description"] for schema in known.values()],
    }
    return {"description": "the class to instantiate", "anyOf": [names, other]}


def _merged(all_properties: Iterable[Schema]) -> Schema:
    """Return the keys of several classes, each with every type that it has in one of them."""
    found: dict[str, list[Schema]] = {}
    for properties in all_properties:
        for key, schema in properties.items():
            found.setdefault(key, []).append(schema)
    return {key: _either(schemas) for key, schemas in found.items()}


def _either(schemas: list[Any]) -> Any:
    if not all(isinstance(schema, dict) and "anyOf" in schema for schema in schemas):
        return schemas[0]
    choices: list[Schema] = []
    for schema in schemas:
        choices += [choice for choice in schema["anyOf"] if choice not in choices]
    comments = [schema["description"] for schema in schemas if "description" in schema]
    return {**({"description": comments[0]} if comments else {}), "anyOf": choices}
