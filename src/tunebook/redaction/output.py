"""Redact what is written to the terminal and to the log."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
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

    Everything else is passed on to the wrapped stream. If its reader is gone, as with
    `... | head`, nothing is written any more, and the program goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write `text` without its secrets, and return the length of `text`."""
        with self._tolerating_no_reader():
            self.stream.write(redact(text) if len(text) > 1 else text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._tolerating_no_reader():
            self.stream.flush()

    @contextlib.contextmanager
    def _tolerating_no_reader(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

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
