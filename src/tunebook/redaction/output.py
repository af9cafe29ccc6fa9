"""Redact what is written to the terminal and to the log."""

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

from tunebook.redaction.hide import redact


class RedactingFormatter(logging.Formatter):
    """Format log records without secrets.

    The text of an error may contain the address that caused it, with its password.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text without secrets."""
        return redact(super().format(record))


class RedactingStream:
    """Wrap a text stream, and redact what is written to it.

    Everything else is passed on to the wrapped stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write `text` without its secrets, and return the length of `text`."""
        self.stream.write(redact(text) if len(text) > 1 else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line without its secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def redact_output() -> None:
    """Redact everything that is written to standard output and standard error from now on.

    This includes the output of libraries and tracebacks.
    """
    if not isinstance(sys.stdout, RedactingStream):
        sys.stdout = cast(TextIO, RedactingStream(sys.stdout))
    if not isinstance(sys.stderr, RedactingStream):
        sys.stderr = cast(TextIO, RedactingStream(sys.stderr))
