"""Check what a sweep passes to other programs.

Slurm's options become lines of a batch script, and other options of submitit become shell commands.
Ray imports the module that an address names, and SQLAlchemy loads the driver that an address names.
So each of them is compared with a list of what is known to be harmless.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tunebook.config.paths import why_unwritable
from tunebook.config.validation import Name, SettingError, format_value, suggest, validate_value
from tunebook.redaction import redact

PREFIX = "slurm_"
Amount = Annotated[int, Field(ge=0, le=1_000_000)]
Size = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
SLURM_TYPES: dict[str, Any] = {
    "timeout_min": Annotated[int, Field(ge=1, le=525_600)],  # at most a year
    "cluster": Literal["slurm", "local"],
}
TEXT = re.compile(r"[A-Za-z0-9_./@][A-Za-z0-9_.,:/@+=\[\]-]{0,199}")
CONSTRAINT = re.compile(r"[A-Za-z0-9_\[(][A-Za-z0-9_.,:&|*\[\]()-]{0,199}")
# Parameters of submitit for every cluster. The others are Slurm's own, with the prefix `slurm_`.
SHARED: dict[str, Any] = {"gpus_per_node": Amount, "cpus_per_task": Amount, "mem_gb": Size}
SLURM: dict[str, Any] = {
    "partition": TEXT, "account": TEXT, "qos": TEXT, "constraint": CONSTRAINT, "gres": TEXT,
    "time": TEXT, "mem": TEXT, "mem_per_cpu": TEXT, "mem_per_gpu": TEXT, "nodelist": TEXT,
    "exclude": TEXT, "dependency": TEXT, "wckey": TEXT, "comment": TEXT, "exclusive": bool,
    "cpus_per_gpu": Amount, "gpus_per_task": Amount,
}  # fmt: skip
RAY_ADDRESS = re.compile(r"auto|local|(ray://)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
DRIVERS = (
    "sqlite", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "mysql", "mysql+pymysql",
    "mysql+mysqldb",
)  # fmt: skip
OPTIONS = ("sslmode", "connect_timeout", "application_name", "charset")  # of a server's address
SQLITE = "sqlite:///"


def slurm_parameters(more: object) -> dict[str, Any]:
    """Return `sweep.slurm.more` as submitit's parameters.

    Raise SettingError for what is not a plain resource. Each key may be written with or without the
    prefix `slurm_`.
    """
    if more is None:
        return {}
    if not isinstance(more, Mapping):
        raise SettingError(
            "sweep.slurm.more", more, "must be settings such as {partition: gpu, mem_gb: 8}"
        )
    found: dict[str, Any] = {}
    for written, value in more.items():
        where = f"sweep.slurm.more.{format_value(written)}"
        key = str(written).removeprefix(PREFIX)
        kind = (SHARED | SLURM).get(key)
        if kind is None:
            allowed = sorted(SHARED | SLURM)
            hint = suggest(key, allowed)
            message = f"no such resource; allowed: {', '.join(allowed)}.{hint}"
            raise SettingError(where, value, message)
        name = key if key in SHARED and not str(written).startswith(PREFIX) else PREFIX + key
        if name in found or (key in found) or (PREFIX + key in found):
            raise SettingError(where, value, "is given twice")
        if value is not None:
            found[name] = _resource(where, value, kind)
    return found


def _resource(where: str, value: object, kind: Any) -> Any:
    """Return the value if it is of the given kind, and raise SettingError otherwise.

    kind: a type, or the pattern that a text must match.
    """
    if not isinstance(kind, re.Pattern):
        return validate_value(where, value, kind)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise SettingError(where, value, "must be text or an integer")
    if not kind.fullmatch(str(value)):
        extra = "&|*()[]" if kind is CONSTRAINT else "/@+=[]"
        message = f"must be letters, digits and _ . , : - {' '.join(extra)}, at most 200 of them"
        raise SettingError(where, value, message)
    return value


def check_cluster(settings: Mapping[str, Any]) -> None:
    """Raise SettingError for settings of Ray or Slurm that are not allowed.

    settings: the group `sweep`.
    """
    for kind in ("ray", "slurm"):
        if not isinstance(settings.get(kind), Mapping):
            raise SettingError(
                f"sweep.{kind}", settings.get(kind), f"must be settings: sweep.{kind}.<key>=<value>"
            )
    address = settings["ray"].get("address")
    if address is not None and not (
        isinstance(address, str) and RAY_ADDRESS.fullmatch(address) and _port(address) < 65536
    ):
        message = "must be a host and a port, such as 10.0.0.1:6379, or auto, or local"
        raise SettingError("sweep.ray.address", redact(str(address)), message)
    for key, kind in SLURM_TYPES.items():
        validate_value(f"sweep.slurm.{key}", settings["slurm"].get(key), kind)
    slurm_parameters(settings["slurm"].get("more"))


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else 0


def check_storage(address: str | None) -> None:
    """Raise SettingError if `sweep.storage` is not the address of a supported database."""
    if address is None:
        return
    validate_value("sweep.storage", address, Name)
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    drivers = ", ".join(DRIVERS)
    message = (
        "can't be opened: must be an address such as sqlite:////path/study.db or "
        f"postgresql://user@host/name; drivers: {drivers}"
    )
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise SettingError("sweep.storage", redact(address), message) from None
    if url.drivername not in DRIVERS or not url.database or not address.isprintable():
        raise SettingError("sweep.storage", redact(address), message)
    if other := sorted(set(url.query) - set(OPTIONS)):
        allowed = f"has an unknown option {other[0]}; allowed: {', '.join(OPTIONS)}"
        raise SettingError("sweep.storage", redact(address), allowed)
    if url.drivername != "sqlite":
        return
    path = sqlite_file(address)
    if path is None or url.query or address.endswith("/"):
        raise SettingError(
            "sweep.storage", address, "must be sqlite:/// and a file, without options"
        )
    if path.is_dir():
        raise SettingError("sweep.storage", address, "is a folder")
    if reason := why_unwritable(path.parent):
        raise SettingError("sweep.storage", address, f"cannot be written: {reason}")
    if path.exists() and not path.is_file():
        raise SettingError("sweep.storage", address, "is not a file")


def sqlite_file(address: str) -> Path | None:
    """Return the file of an SQLite database, or None for a server's address."""
    name = address.removeprefix(SQLITE)
    return Path(name).absolute() if address.startswith(SQLITE) and name else None
