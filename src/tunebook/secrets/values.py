"""Which values tell a secret: not the empty ones, and not the name of a place that holds it."""

import re

HIDDEN = "***"
NOT_VALUES = ("", "null", "none", "true", "false", "???", "[]", "{}", HIDDEN)
INTERPOLATION = re.compile(r"\$\{[\w.:@-]{1,200}\}")  # one with a default tells that


def is_interpolation(text: str) -> bool:
    """Return whether a text names a value without telling it: ${oc.env:DB_PASSWORD}."""
    return INTERPOLATION.fullmatch(text) is not None


def is_told(value: str) -> bool:
    """Return whether a value is a secret, and not nothing or the name of one."""
    value = value.strip()
    if value.rstrip(".:;)]") == HIDDEN:
        return False  # at the end of a clause
    return value.lower() not in NOT_VALUES and not is_interpolation(value)
