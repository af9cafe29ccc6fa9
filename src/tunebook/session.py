"""Print, log and stop in the way that a notebook or a script expects."""

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from tunebook.redaction import RedactingFormatter
from tunebook.training import Stopped


class _Printed(logging.Handler):
    """Print log lines above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        tqdm.write(self.format(record), file=sys.stdout)


@contextlib.contextmanager
def logged(file: Path | None = None, line_format: str = "") -> Iterator[None]:
    """Print what Tunebook logs, and write it to `file`, until the block is left.

    The caller's own logging is not changed. line_format: the format of a line in the file.
    """
    log, handlers = logging.getLogger("tunebook"), list[logging.Handler]()
    handlers.append(_Printed())
    handlers[0].setFormatter(RedactingFormatter("%(message)s"))
    if file is not None:
        handlers.append(logging.FileHandler(file))
        handlers[1].setFormatter(RedactingFormatter(line_format))
    before = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.level, log.propagate = before
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt if a run is stopped by Ctrl-C within the block."""
    try:
        yield
    except Stopped as stopped:
        if stopped.exit_code != 128 + signal.SIGINT:
            raise
        raise KeyboardInterrupt(str(stopped)) from None
