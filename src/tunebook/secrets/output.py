"""The terminal and the log, without secrets."""

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

from tunebook.secrets.redaction import redact


class RedactingFormatter(logging.Formatter):
    """Writes what its base class would, without secrets: an error's text may hold the address that it came from."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return redact(super().format(record))


class RedactingStream:
    """A text stream that redacts what is written to it, and is else the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write `text` without its secrets."""
        self.stream.write(redact(text) if len(text) > 1 else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line without its secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def redact_output() -> None:
    """Let nothing reach standard output and standard error unredacted, whoever writes it: this package, a library, a traceback."""
    if not isinstance(sys.stdout, RedactingStream):
        sys.stdout = cast(TextIO, RedactingStream(sys.stdout))
    if not isinstance(sys.stderr, RedactingStream):
        sys.stderr = cast(TextIO, RedactingStream(sys.stderr))
