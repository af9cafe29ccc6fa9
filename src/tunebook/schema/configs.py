"""Make the schema of each kind of file in conf/: groups' options, experiments, primary configs."""

import re
from collections.abc import Iterator
from typing import Any

from tunebook.config.comments import description
from tunebook.config.compose import default_choices, options
from tunebook.config.paths import CONF, PROJECT
from tunebook.config.targets import KINDS, NAMED, ONE_OR_NAMED
from tunebook.config.validation import Name
from tunebook.report import requested_audit, requested_runs
from tunebook.runs import assemble, requested_run
from tunebook.schema.classes import arguments, closed, kind_definitions
from tunebook.schema.notes import Notes, files_of, group_comments, notes, targets_of
from tunebook.schema.values import INTERPOLATION, Schema, setting, value_schema
from tunebook.sweeps import outside, request
from tunebook.tracking import ui
from tunebook.training.trainer import make_trainer

DRAFT = "http://json-schema.org/draft-07/schema#"
WHOLE = ("experiment", "debug")  # groups whose files change the whole config
SELF = "_self_"
# The settings of the primary configs.
TYPES: dict[str, Any] = {
    **assemble.TYPES,
    **requested_run.TYPES,
    **requested_runs.TYPES,
    **requested_audit.TYPES,
    **ui.TYPES,
    **dict.fromkeys(("outputs", "run", "images"), Name),
    **dict.fromkeys(("resume", "output"), Name | None),
    "find": assemble.Finder | None,
    "check": bool,
}


def all_schemas() -> dict[str, Schema]:
    """Return each schema by the name of its file; a project has no primary configs."""
    primary = sorted(path.stem for path in CONF.glob("*.yaml")) if PROJECT is None else []
    groups = {
        group: whole_schema(group) if group in WHOLE else group_schema(group)
        for group in default_choices()
    }
    return groups | {name: primary_schema(name) for name in primary}


def group_schema(group: str) -> Schema:
    """Return the schema of a group's files.

    Its definition `settings` is what other files refer to.
    """
    names = [SELF, *(path.stem for path in files_of(group))]
    if group in ONE_OR_NAMED:
        included: Schema = {
            "anyOf": [{"enum": names}, {"pattern": rf"^({'|'.join(names[1:])})@\w+$"}]
        }
    else:
        included = {"enum": names}
    found: Schema = {
        "$schema": DRAFT,
        "description": group_comments("config")[group],
        "allOf": [{"$ref": "#/definitions/settings"}],
        "properties": {"defaults": _defaults(included)},
        "definitions": {**INTERPOLATION, **_settings(group)},
    }
    if group in KINDS and group not in NAMED + ONE_OR_NAMED:
        found["anyOf"] = [{"required": ["_target_"]}, {"required": ["defaults"]}]
    return found


def whole_schema(group: str) -> Schema:
    """Return the schema of a group's files that may set any setting of any group."""
    chosen = {f"override /{other}": _choice(other) for other in default_choices() if other != group}
    same = {"enum": [SELF, *(path.stem for path in files_of(group))]}
    defaults = {"defaults": _defaults(same, _one_of(closed(chosen)))}
    return {
        "$schema": DRAFT,
        "description": group_comments("config")[group],
        **closed({**defaults, **_whole("config")}),
        "minProperties": 1,
        "allOf": [*_chosen_keys()],
        "definitions": INTERPOLATION,
    }


def _chosen_keys() -> Iterator[Schema]:
    """Yield, for each option with a class, that a file that chooses it may set its keys only."""
    for group in default_choices():
        for target in targets_of(group):
            choice, option = f"override /{group}", target.path.stem
            if target.place == group and not option.startswith("_"):
                entry = {"properties": {choice: {"const": option}}, "required": [choice]}
                keys = {"$ref": f"{group}.json#/definitions/{target.name}"}
                yield {
                    "if": {
                        "properties": {"defaults": {"contains": {"type": "object", **entry}}},
                        "required": ["defaults"],
                    },
                    "then": {"properties": {group: keys}},
                }


def primary_schema(name: str) -> Schema:
    """Return the schema of the primary config `name`."""
    choices = closed({group: _choice(group) for group in default_choices(name)})
    hydras = {"patternProperties": {"^override hydra/": {"type": "string"}}}
    defaults = {"defaults": _defaults({"enum": [SELF]}, _one_of({**choices, **hydras}))}
    return {
        "$schema": DRAFT,
        "description": description("", name),
        **closed({**defaults, **_whole(name), "hydra": {"type": "object"}}),
        "definitions": INTERPOLATION,
    }


def _whole(config_name: str) -> Schema:
    """Return the schema of each key of a composed config, but for `hydra`."""
    key_notes = notes(CONF / f"{config_name}.yaml")
    own = {
        key: setting(value_schema(TYPES[key]) or {}, *note)
        for key, note in key_notes.items()
        if not key.startswith(("defaults", "hydra."))
    }
    comments = group_comments(config_name)
    groups = {
        group: {
            "description": comments[group],
            "allOf": [{"$ref": f"{group}.json#/definitions/settings"}],
            "properties": {"defaults": False},  # only a group's own file has such a list
        }
        for group in default_choices(config_name)
        if group not in WHOLE
    }
    return {**groups, **dict(sorted(own.items()))}


def _settings(group: str) -> Schema:
    """Return the definition of a group's settings, and those that it refers to."""
    key_notes = notes(*files_of(group))
    found: Schema = {}
    for kind in KINDS:
        if kind.partition(".")[0] == group:
            found |= kind_definitions(kind)
    if group == "trainer":
        return {"settings": closed({"defaults": True, **arguments(make_trainer, group, key_notes)})}
    if group == "sweep":
        return {"settings": closed({"defaults": True, **_sweep(key_notes)}), **found}
    if group in NAMED:
        own = {"type": ["object", "null"], "properties": {"defaults": True}}
        each = {"additionalProperties": {"$ref": f"#/definitions/{group}"}}
        return {"settings": {**own, **each}, **found}
    if group in ONE_OR_NAMED:
        return {"settings": _one_or_named(group, found), **found}
    return {"settings": {"$ref": f"#/definitions/{group}"}, **found}


def _one_or_named(group: str, definitions: Schema) -> Schema:
    """Return the schema of an object's settings, or of several objects with names.

    Without a `_target_`, a key is a setting of the chosen option or the name of an object.
    """
    one = {"$ref": f"#/definitions/{group}"}
    keys = {"defaults": True, **definitions[f"{group}.any"]["properties"]}
    return {
        "type": "object",
        "if": {"required": ["_target_"]},
        "then": one,
        "else": {"properties": keys, "additionalProperties": one},
    }


def _sweep(key_notes: Notes) -> Schema:
    def typed(prefix: str, types: dict[str, Any]) -> Schema:
        return {
            key: setting(value_schema(kind) or {}, *key_notes[prefix + key])
            for key, kind in types.items()
        }

    final = {
        "of": Name | None, "seeds": request.Trials, "plan": request.Plans,
        "budget": int | str, "min_gain": request.MinGain,
    }  # fmt: skip
    slurm = typed("slurm.", outside.SLURM_TYPES)
    return {
        **typed("", request.TYPES),
        **typed("", final),
        **{key: _kind_or_null(f"sweep.{key}") for key in ("sampler", "pruner")},
        "ray": closed(typed("ray.", {"address": Name | None})),
        "slurm": closed({**slurm, "more": _resources(key_notes["slurm.more"].comment)}),
        "space": {"type": ["object", "null"], "description": key_notes["space"].comment},
    }


def _kind_or_null(kind: str) -> Schema:
    return {
        "if": {"type": "object"},
        "then": {"$ref": f"#/definitions/{kind}"},
        "else": {"type": "null"},
    }


def _resources(comment: str) -> Schema:
    """Return the schema of a Slurm job's further resources, each with and without its prefix."""
    kinds: Schema = {}
    for key, kind in {**outside.SHARED, **outside.SLURM}.items():
        if isinstance(kind, re.Pattern):
            value: Schema = {"type": ["string", "integer"], "pattern": f"^({kind.pattern})$"}
        else:
            value = value_schema(kind) or {}
        kinds[key] = kinds[outside.PREFIX + key] = setting({"anyOf": [value, {"type": "null"}]})
    return {"description": comment, **closed(kinds), "type": ["object", "null"]}


def _defaults(*entries: Schema) -> Schema:
    comment = "options that this file begins with; _self_ stands for its own settings"
    return {"description": comment, "type": "array", "items": {"anyOf": list(entries)}}


def _choice(group: str) -> Schema:
    """Return the schema of an option's name."""
    names = options(group)
    descriptions = [description(group, name) for name in names]
    nothing: list[Any] = [] if default_choices()[group] else [None]
    return {
        "description": group_comments("config")[group],
        "enum": [*names, *nothing],
        "enumDescriptions": [*descriptions, *("none of them" for _ in nothing)],
    }


def _one_of(entry: Schema) -> Schema:
    return {**entry, "minProperties": 1, "maxProperties": 1}
