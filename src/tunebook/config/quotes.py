"""Put quotes around the values of text settings.

Hydra parses the value of an override, and would read some texts as other types.
"""

import re
from collections.abc import Sequence

from tunebook.text_output import quoted

# Hydra reads it only as text: it has a letter other than e (which occurs in numbers: 1e5).
PLAIN_TEXT = re.compile(
    r"(?!(?:true|false|null|nan|inf)$)(?=.*[A-DF-Za-df-z])[\w./-]+", re.ASCII | re.IGNORECASE
)
# Settings of the scripts that are always text. Hydra would read `1e5` as a number, and refuse
# `a, b`.
TEXTS = {
    "config": ("resume", "of", "sweep.of", "budget", "sweep.budget"), "evaluate": ("run",),
    "predict": ("run", "images", "output"), "reproduce": ("run",),
    "compare": ("sweep", "sweep_name", "runs"), "data_audit": ("root", "table", "cache_root"),
}  # fmt: skip

SHORT_FORMS = {
    ("compare", "sweep"): "sweep_name", ("config", "of"): "sweep.of",
    ("config", "budget"): "sweep.budget",
}  # fmt: skip


def as_text_value(text: str) -> str:
    """Return a text as the value of an override, in quotes where Hydra needs them."""
    return text if PLAIN_TEXT.fullmatch(text) else quoted(text)


def normalize_overrides(config_name: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides as Hydra can parse them, with quotes around texts.

    compare.py's `sweep=<name>` becomes `sweep_name=<name>`, because Hydra would look for an option
    in conf/sweep/. train.py's `of=<sweep>` becomes `sweep.of=<sweep>`. The word `clean` of data.py
    becomes `clean=true`.
    """
    found: list[str] = []
    for word in overrides:
        if (config_name, word) == ("data_audit", "clean"):
            word = "clean=true"
        key, separator, value = word.partition("=")
        if separator and key in TEXTS.get(config_name, ()):
            if value not in ("", "null", "???") and value[0] not in "'\"":
                value = as_text_value(value)
            key = SHORT_FORMS.get((config_name, key), key)
        found.append(f"{key}{separator}{value}")
    return found
