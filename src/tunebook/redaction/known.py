"""Hide the secrets that this process knows, in whatever form they are encoded.

Encoders do not change letters and digits, and each writes the other characters in its own way: %2F,
\\/, \\u002f, &#47;. So a secret is searched for character by character, each in any of these forms.
This is done in the text itself and in the text with its escapes decoded. In addition, a secret is
searched for in hexadecimal, base64 and base32.
"""

import base64
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tunebook.redaction import packed, patterns
from tunebook.redaction.addresses import secrets_in
from tunebook.redaction.encodings import in_any_form
from tunebook.redaction.names import is_secret
from tunebook.redaction.pairs import in_settings
from tunebook.redaction.values import HIDDEN, NOT_VALUES, is_interpolation
from tunebook.redaction.views import View, readings

# In characters. A shorter value is probably a word, and is hidden only in its setting or address.
SHORTEST = 6
# In characters. A value of this length is hidden even inside a longer word.
STRONG = 8
WORD = re.compile(r"\w{3,}", re.ASCII)
# Passwords that are also words of this project and its tools: hidden only in their setting.
COMMON = {
    "password", "passwd", "secret", "secrets", "username", "postgres", "postgresql", "mlflow",
    "optuna", "sqlite", "tunebook", "default", "required", "enabled", "disabled", "localhost",
    "x-access-token", "x-oauth-basic", "oauth2", "digits", "anonymous",
}  # fmt: skip
WORD_BEGINS = r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[abfnrtv]))"
WORD_ENDS = r"(?![0-9A-Za-z])"
NUMBER_BEGINS, NUMBER_ENDS = r"(?<![\w.])", r"(?!\w|\.\d)"


class _Known:
    """Find one secret in texts.

    before, after: the texts between which it is hidden. With "" for both, it is hidden everywhere.
    """

    def __init__(self, value: str, before: str = "", after: str = "") -> None:
        begins, ends = "", ""
        if not before and len(value) < STRONG:
            begins, ends = WORD_BEGINS, WORD_ENDS
        if not before and value.isdigit():
            begins, ends = NUMBER_BEGINS, NUMBER_ENDS
        words = WORD.findall(value) or WORD.findall(before) or [""]
        self.anchor = max(words, key=len)
        self._pattern: re.Pattern[str] | None = None
        self._text = (
            f"{begins}(?={in_any_form(before)}({in_any_form(value)}){in_any_form(after)}{ends})"
        )
        self.cores = () if before else packed.cores(value)
        self.code = "" if before else packed.hex_of(value)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the (start, end) of each occurrence of the secret in `text`."""
        if self.anchor in text:
            if self._pattern is None:
                self._pattern = re.compile(self._text)
            yield from (match.span(1) for match in self._pattern.finditer(text))


class KnownSecrets:
    """Hold the secrets that are known so far, and hide them in texts."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], _Known] = {}
        self._cores: tuple[str, ...] = ()
        self._codes: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._environment: dict[Any, Any] = {}

    def hide(self, text: str) -> str:
        """Return `text` with *** in place of each secret; secrets that overlap become one."""
        known = list(self._known.values())
        spans = (
            [view.origin(span) for view in readings(text) for span in self._spans(view, known)]
            if known
            else []
        )
        return patterns.without(text, spans)

    def _spans(self, view: View, known: list[_Known]) -> Iterator[tuple[int, int]]:
        for one in known:
            yield from one.spans(view.text)
        yield from packed.in_base64(view, self._cores)
        yield from packed.in_hex(view.text, self._codes)

    def add(self, value: str, before: str = "", after: str = "") -> None:
        """Add a value to be hidden, unless it is too short or too common to be a secret.

        before, after: the texts between which it is hidden; "" hides it everywhere.
        """
        value = value.strip()
        if not value or value == HIDDEN or is_interpolation(value) or not value.strip("*"):
            return
        if not before and (len(value) < SHORTEST or value.lower() in COMMON):
            return
        with self._lock:
            if (value, before, after) not in self._known:
                self._known[value, before, after] = one = _Known(value, before, after)
                self._cores += one.cores
                self._codes += (one.code,) if one.code else ()

    def learn_environment(self, environment: Mapping[str, str]) -> None:
        """Add the secrets in environment variables.

        A call is fast if nothing has changed since the last one.
        """
        # The dictionary that os.environ wraps: reading it through the wrapper takes too long.
        now = getattr(environment, "_data", environment)
        if now == self._environment:
            return
        seen = dict(now)
        for name, value in environment.items():
            if is_secret(name) and not (os.path.isabs(value) and os.path.exists(value)):
                self._learn_secret(value, name)
            self._learn_text(value)
        user, password = (
            environment.get("MLFLOW_TRACKING_USERNAME"),
            environment.get("MLFLOW_TRACKING_PASSWORD"),
        )
        if user and password:
            self._learn_basic(user, password)
        self._environment = seen  # last: until then, other threads add the secrets, too

    def learn_words(self, words: Iterable[str]) -> None:
        """Add the secrets in the arguments of a command line."""
        for word in words:
            key, _, value = word.partition("=")
            for text in dict.fromkeys(_readings(value)):
                if is_secret(key.lstrip("+~")):
                    self._learn_secret(text, key.lstrip("+~"))
                self._learn_text(text)
            self._learn_text(word)

    def learn(self, value: Any, name: str = "") -> None:
        """Add the secrets in settings, which may be nested.

        name: the nearest key above the value that is named like a secret; "" for none.
        """
        if isinstance(value, dict):
            for key, item in value.items():
                self.learn(item, str(key) if is_secret(str(key)) else name)
        elif isinstance(value, list | tuple):
            for item in value:
                self.learn(item, name)
        elif name and isinstance(value, str | int | float) and not isinstance(value, bool):
            self._learn_secret(str(value), name)
        if isinstance(value, str):
            self._learn_text(value)

    def _learn_secret(self, value: str, name: str) -> None:
        if value.lower() not in NOT_VALUES:
            self.add(value)
            self.add(value, before=f"{name}=")

    def _learn_text(self, text: str) -> None:
        for found in re.finditer("://", text):
            for secret in secrets_in(text, found.start(), is_setting=True):
                self.add(
                    text[secret.start : secret.end],
                    text[found.start() : secret.start][-40:],
                    text[secret.end : secret.end + 1],
                )
                for value in secret.values:
                    self.add(value)
                    if secret.user:
                        self._learn_basic(secret.user, value)
        for start, end in in_settings(text):
            self.add(text[start:end])

    def _learn_basic(self, user: str, password: str) -> None:
        """Add the form of a user and a password in HTTP basic authentication.

        It is found even if the password is too short to be searched for by itself.
        """
        self.add(base64.b64encode(f"{user}:{password}".encode(errors="surrogateescape")).decode())


def _readings(text: str) -> Iterator[str]:
    """Yield the possible meanings of a value on the command line.

    These are the value as it is written, with its escapes decoded, and as Hydra reads it in quotes.
    """
    yield text
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    inner = text[1:-1] if is_quoted else text
    yield re.sub(r"\\(.)", r"\1", inner)
    if is_quoted:  # in quotes, a backslash escapes only a quote, or a backslash before one
        yield re.sub(rf"(\\+)(?={text[0]}|$)", lambda found: found[1][: len(found[1]) // 2], inner)
