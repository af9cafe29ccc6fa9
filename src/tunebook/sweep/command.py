"""Run the sweep that `train.py -m` requests.

Names are checked before torch is imported, which takes seconds. Everything else is checked later.
"""

import gc
import logging
import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from tunebook.secrets import RedactingFormatter
from tunebook.sweep.points import fitting, read, to_check


def sweep(overrides: Sequence[str]) -> int:
    """Run the sweep that `train.py -m <overrides>` requests, and return the exit status.

    Raise SettingError, ConfigError or InputError before anything is created.
    """
    _log_to_terminal()
    request, base = read(overrides)
    composed: dict[tuple[str, ...], DictConfig] = {}
    next(iter(to_check(request, base, composed)), None)  # finds a wrong name without torch

    from tunebook.experiment.early import EarlyCheck

    check = EarlyCheck()
    request = fitting(request, base, lambda cfg: check(_without_hydra(cfg)), composed)

    from tunebook.sweep.start import drive  # imports everything else

    gc.enable()  # see `entry`
    return drive(request, base)


def _log_to_terminal() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # A terminal or a log file that can't be written to is no reason to stop.
    logging.raiseExceptions = False


def _without_hydra(cfg: DictConfig) -> dict[str, Any]:
    own = cfg.copy()
    with open_dict(own):
        del own["hydra"]
    found = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}
