"""Wait after workers have ended through no fault of their trials.

A sweep waits only for a limited time.
"""

import logging
import time
from dataclasses import dataclass

from tunebook.sweeps.storage import StudyUnavailable

log = logging.getLogger(__name__)

NO_STUDY, NO_ROOM = 75, 74  # exit statuses: EX_TEMPFAIL and EX_IOERR of sysexits.h
SETBACKS = {
    f"status {NO_STUDY}": "a worker can't use the study's database",
    f"status {NO_ROOM}": "the disk is full",
}
ORPHANED = "the loss of the process that started it"
PAUSE_S = 2.0  # before the next trial is started after a setback


@dataclass
class Setbacks:
    """Keep track of setbacks: workers that could not work through no fault of their trials.

    patience_s: the seconds for which setbacks may follow each other without a success.
    """

    patience_s: float
    _since: float | None = None
    _until: float = 0.0

    def hit(self, ending: str) -> None:
        """Delay the start of the next trial.

        Raise StudyUnavailable if setbacks have continued for too long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            log.warning("%s: the sweep waits for at most %.0f s", SETBACKS[ending], self.patience_s)
        if now - self._since >= self.patience_s:
            raise StudyUnavailable(SETBACKS[ending])
        self._until = now + PAUSE_S

    def over(self) -> None:
        """Forget past setbacks, because a worker has worked again."""
        self._since, self._until = None, 0.0

    @property
    def pauses(self) -> bool:
        """Return whether no trial may be started now."""
        return time.monotonic() < self._until
