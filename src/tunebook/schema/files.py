"""Write the schemas to conf/.schema/."""

import json
from typing import Any

from tunebook.config.paths import CONFS, why_unwritable
from tunebook.config.validation import InputError, validate_value
from tunebook.schema.configs import all_schemas
from tunebook.text_output import counted

FOLDER = CONFS[0] / ".schema"  # the project's, if there is one


def check(cfg: Any) -> None:
    """Raise SettingError or InputError if the files can't be written with these settings."""
    validate_value("check", cfg.check, bool)
    if not cfg.check and (reason := why_unwritable(FOLDER)):
        raise InputError(f"{FOLDER}: cannot be written: {reason}")


def texts() -> dict[str, str]:
    """Return the text of each file in conf/.schema/."""
    return {
        f"{name}.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in all_schemas().items()
    }


def write(only_check: bool = False) -> list[str]:
    """Write the files that are out of date, and print and return their names.

    Files that no longer belong to a YAML file are removed. only_check: change nothing.
    """
    wanted = texts()
    existing = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    changed = sorted(
        name for name in {**wanted, **existing} if wanted.get(name) != existing.get(name)
    )
    for name in changed if not only_check else ():
        FOLDER.mkdir(exist_ok=True)
        if name in wanted:
            (FOLDER / name).write_text(wanted[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
    done = "out of date" if only_check else "written"
    print(f"conf/.schema: {counted(len(wanted), 'file')}, {len(changed)} {done}")
    for name in changed:
        print(name)
    return changed
