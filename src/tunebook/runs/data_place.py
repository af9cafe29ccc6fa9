"""Say where the images of an earlier run are on this machine.

The place that the run recorded is not used, because the run may be from another machine, or from
another person.
"""

from collections.abc import Mapping
from typing import Any

from tunebook.config.compose import with_choices
from tunebook.config.quotes import as_text_value
from tunebook.config.validation import SettingError, format_value


def place_of_images(data: Mapping[str, Any], data_root: str | None) -> tuple[str, str]:
    """Return the setting of `data` that holds the place of the images, and its value.

    data: the run's settings. data_root: the place, if this call names one. Raises SettingError if
    the images are the user's own and `data_root` is None.
    """
    key = "table" if "table" in data else "root"
    if data_root is not None:
        return key, data_root
    if not has_own_images(data):
        return key, str(with_choices({"data": "digits"}).data.root)
    what = "the table of the images" if key == "table" else "the folder of the images"
    raise SettingError(
        "data_root", None, f"is required: {what} (the run recorded {format_value(data.get(key))})"
    )


def own_images(data: object) -> str | None:
    """Return the override that says where the user's own images are, such as `data.root=photos`.

    data: the settings of the group `data`. Returns None for a data set with a known place.
    """
    if not isinstance(data, Mapping) or not has_own_images(data):
        return None
    key = "table" if "table" in data else "root"
    return f"data.{key}={as_text_value(str(data[key]))}"


def has_own_images(data: Mapping[str, Any]) -> bool:
    """Return whether the images are files of the user, not a data set with a known place."""
    source = data.get("source")
    is_on_hub = isinstance(source, Mapping) and source.get("path") is not None
    return "cache_root" in data and not is_on_hub
