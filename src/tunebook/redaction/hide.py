"""Redact texts and settings, and remember the secrets that this process has seen."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from tunebook.redaction import patterns
from tunebook.redaction.known import KnownSecrets
from tunebook.redaction.names import is_secret
from tunebook.redaction.values import HIDDEN, reveals_secret

PROCESS = KnownSecrets()
# A text is redacted until it no longer changes, so that redacting it again has no effect.
MAX_PASSES = 5


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return `text` with every secret replaced by ***.

    environment: the variables whose secrets are hidden, instead of the process's own.
    """
    sources = [PROCESS]
    if environment is None:
        PROCESS.learn_environment(os.environ)
    else:
        sources.append(KnownSecrets())
        sources[1].learn_environment(environment)
    for _ in range(MAX_PASSES):
        before = text
        for source in sources:
            text = source.hide(text)
        text = patterns.hide(text)
        if text == before:
            break
    return text


def redacted(value: Any, name: str = "") -> Any:
    """Return a plain value with every text in it redacted.

    name: the key that holds the value. Everything below a secret's key is hidden.
    """
    if isinstance(value, dict):
        return {
            key: redacted(item, key if is_secret(str(key)) else name) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item, name) for item in value]
    if name and value is not None and not isinstance(value, bool) and reveals_secret(str(value)):
        return HIDDEN
    return redact(value) if isinstance(value, str) else value


def learn(value: Any) -> None:
    """Remember the secrets in settings: an address, or nested dictionaries and lists."""
    PROCESS.learn(value)


def learn_words(words: Iterable[str]) -> None:
    """Remember the secrets in the arguments of a command line.

    An example of such an argument is `tracking.uri=http://me:password@host`.
    """
    PROCESS.learn_words(words)


def fits(kept: str, address: str) -> bool:
    """Return whether `kept` is `address` written without its secrets."""
    if kept == address:
        return True
    rest = address
    first, *parts = kept.split(HIDDEN)
    if not parts or not rest.startswith(first):
        return False
    rest, last = rest[len(first) :], parts.pop()
    for part in parts:
        _, found, rest = rest.partition(part)
        if not found and part:
            return False
    return rest.endswith(last)
