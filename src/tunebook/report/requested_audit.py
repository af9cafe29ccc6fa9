"""Check the settings of data.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from tunebook.config.paths import ROOT
from tunebook.config.validation import Name, SettingError, validate_value
from tunebook.data.near_duplicates import MAX_THRESHOLD

TYPES: dict[str, Any] = {
    **dict.fromkeys(("root", "table"), Name | None),
    **dict.fromkeys(("outputs", "cache_root"), Name),
    **dict.fromkeys(("near_duplicates", "clean"), bool),
    "near_threshold": Annotated[int, Field(ge=0, le=MAX_THRESHOLD)],
}


@dataclass(frozen=True)
class RequestedAudit:
    """Name a data set, and what to do with it.

    root, table: one of them is not None, unless `clean` is true. Relative paths start at the top of
    the project, as in training.
    """

    root: Path | None
    table: Path | None
    near_duplicates: bool
    near_threshold: int
    outputs: Path
    cache_root: Path
    clean: bool

    @classmethod
    def of(cls, cfg: Any) -> Self:
        """Return what data.py's settings request."""
        root, table = (None if value is None else ROOT / value for value in _places(cfg))
        return cls(
            root,
            table,
            cfg.near_duplicates,
            cfg.near_threshold,
            Path(str(cfg.outputs)),
            ROOT / str(cfg.cache_root),
            cfg.clean,
        )


def _places(cfg: Any) -> tuple[str | None, str | None]:
    root, table = (None if value is None else str(value) for value in (cfg.root, cfg.table))
    return root, table


def check(cfg: Any) -> None:
    """Raise SettingError if a setting can't be used."""
    for key, kind in TYPES.items():
        value = cfg[key]
        is_text = key in ("root", "table", "outputs", "cache_root") and value is not None
        validate_value(key, str(value) if is_text else value, kind)
    root, table = _places(cfg)
    if cfg.clean:
        if root is not None or table is not None:
            key, value = ("root", root) if root is not None else ("table", table)
            raise SettingError(key, value, "is not used by clean, which removes cache_root's files")
        return
    if root is None and table is None:
        raise SettingError("root", None, "is required: a folder of images; or table=<a CSV file>")
    if root is not None and table is not None:
        raise SettingError("table", table, "and root name two data sets: give only one of them")
