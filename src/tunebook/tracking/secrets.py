"""What must not be written down: passwords in addresses, values of settings and environment variables named like secrets."""

import os
import re
from collections.abc import Mapping

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
