"""Decide whether a value reveals a secret.

An empty value does not, and neither does an interpolation, which only refers to a value.
"""

import re

HIDDEN = "***"
NOT_VALUES = ("", "null", "none", "true", "false", "???", "[]", "{}", HIDDEN)
INTERPOLATION = re.compile(r"\$\{[\w.:@-]{1,200}\}")  # without a default, which may be a secret


def is_interpolation(text: str) -> bool:
    """Return whether a text only refers to a value, as ${oc.env:DB_PASSWORD} does."""
    return INTERPOLATION.fullmatch(text) is not None


def reveals_secret(value: str) -> bool:
    """Return whether a value reveals a secret: it is not empty, hidden or an interpolation."""
    value = value.strip()
    if value.rstrip(".:;)]") == HIDDEN:
        return False  # a hidden value at the end of a clause
    return value.lower() not in NOT_VALUES and not is_interpolation(value)
