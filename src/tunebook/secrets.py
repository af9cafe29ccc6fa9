"""What must not be written down: passwords in addresses, values of settings and environment variables named like secrets."""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

NAMED_LIKE_A_SECRET = r"(?:password|passwd|secret|token|api_?key|access_?key|private_?key|credential)"
IN_ADDRESS = re.compile(r"(\b[\w+.-]+://)[^/\s@'\"]+@")
# `name=value` and `name: value`; an interpolation such as ${oc.env:DB_PASSWORD} names a secret without telling it.
IN_SETTING = re.compile(rf"(?i)([\w.-]*{NAMED_LIKE_A_SECRET}[\w-]*['\"]?\s*[=:]\s*)(?!\$\{{)['\"]?[^\s,'\"&}}]+['\"]?")
SHORTEST = 6  # a shorter value of an environment variable is more likely a word than a secret
HIDDEN = "***"


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with every secret replaced by ***."""
    text = IN_ADDRESS.sub(rf"\1{HIDDEN}@", text)
    text = IN_SETTING.sub(rf"\1{HIDDEN}", text)
    for name, value in environment.items():
        if len(value) >= SHORTEST and re.search(f"(?i){NAMED_LIKE_A_SECRET}", name):
            text = text.replace(value, HIDDEN)
    return text


def redacted(value: Any) -> Any:
    """A plain value with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redacted(item) for key, item in value.items()}
    return [redacted(item) for item in value] if isinstance(value, list) else value


class RedactingFormatter(logging.Formatter):
    """Writes what its base class would, without secrets: an error's text may hold the address that it came from."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return redact(super().format(record))
