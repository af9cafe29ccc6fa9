"""Write what a finder found, and the command that uses it."""

import csv
import io
import logging
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from tunebook.config.roles import key_of
from tunebook.config.run_config import RunConfig
from tunebook.program import call
from tunebook.run_folder import open_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Write the results of a finder to the folder of a config's run."""

    config: RunConfig

    def save(
        self, name: str, figure: Figure, header: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Write `<name>.png` and `<name>.csv`, and log where they are."""
        text = io.StringIO()
        csv.writer(text).writerows([header, *rows])
        folder = self.config.folder
        with open_atomically(folder / f"{name}.csv") as file:
            file.write(text.getvalue().encode())
        with open_atomically(folder / f"{name}.png") as file:
            figure.savefig(file, format="png", dpi=150)
        log.info("picture        %s", folder / f"{name}.png")

    def suggest(self, key: str, value: str, reason: str) -> None:
        """Log a suggested value, why it is suggested, and the command of a run with it."""
        kept = [text for text in self.config.overrides if key_of(text) not in (key, "find")]
        log.info("suggested      %s=%s: %s", key, value, reason)
        log.info("next           %s", shlex.join([*call("train"), *kept, f"{key}={value}"]))
