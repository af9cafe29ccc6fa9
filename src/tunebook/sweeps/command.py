"""Run the sweep that `train.py -m` requests.

Names are checked before torch is imported, which takes seconds. Everything else is checked later.
"""

import contextlib
import gc
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from tunebook.config.quotes import as_text_value, normalize_overrides
from tunebook.config.roles import Role, key_of, role_of
from tunebook.config.run_config import plain, without_hydra
from tunebook.redaction import RedactingFormatter
from tunebook.sweeps.executors import fork_server
from tunebook.sweeps.points import fitting, read, to_check
from tunebook.sweeps.request import Request


def sweep(overrides: Sequence[str]) -> int:
    """Run the sweep that `train.py -m <overrides>` requests, and return the exit status.

    Raise SettingError, ConfigError or InputError before anything is created, and SweepStopped if it
    can't continue.
    """
    _log_to_terminal()
    request, base = read_checked(overrides)

    from tunebook.sweeps.start import drive  # imports all the rest

    gc.enable()  # see `entry`
    status = drive(request, base)
    if status == 0 and request.is_auto and not request.settings["dry_run"]:
        return _conclude_auto(request, base, overrides)
    return status


def _conclude_auto(request: Request, base: DictConfig, overrides: Sequence[str]) -> int:
    """Print the findings of `sweep=auto`, then train and test its winner; return the exit status.

    The same command does this again if it was interrupted: the final sweep is resumed as well.
    """
    outputs, uri = Path(str(base.outputs)), base.tracking.get("uri")
    if uri is not None:
        from tunebook.report.compare import compare  # imports statistics and plots
        from tunebook.report.requested_runs import RequestedRuns

        print()
        requested = RequestedRuns(str(uri), request.name, None, str(base.experiment_name), None)
        compare(requested, None, outputs / "reports")
    if not request.settings["test"]:
        return 0
    print(flush=True)
    own = ("sweep", "sweep.name", "sweep.budget", "sweep.min_gain", "sweep.trials")
    places = [
        word
        for word in normalize_overrides("config", overrides)
        if role_of(key_of(word)) in (Role.LOCATION, Role.DRIVER) and key_of(word) not in own
    ]
    return sweep(["sweep=final", f"sweep.of={as_text_value(request.name)}", *places])


def read_checked(overrides: Sequence[str]) -> tuple[Request, DictConfig]:
    """Return the requested sweep, without unfit shipped values, and its trials' config.

    Raise SettingError, ConfigError or InputError if it can't be run.
    """
    request, base = read(overrides)
    composed: dict[tuple[str, ...], DictConfig] = {}
    next(iter(to_check(request, base, composed)), None)  # finds a wrong name without torch

    local = request.settings["executor"] == "local" and not request.settings["dry_run"]
    # The fork server's imports take as long as importing torch here.
    tests = bool(request.settings["test"])
    with fork_server.started_early(tests) if local else contextlib.nullcontext():
        from tunebook.runs.early_check import EarlyCheck

        check = EarlyCheck()
        request = fitting(request, base, lambda cfg: check(plain(without_hydra(cfg))), composed)
    return request, base


def _log_to_terminal() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # A terminal or a log file that can't be written to is no reason to stop.
    logging.raiseExceptions = False
