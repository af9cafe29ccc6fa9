"""Create a run's output folder, start its log, and silence libraries."""

import warnings
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig, open_dict, read_write

ADVICE = (
    ".*does not have many workers.*",  # gathering from memory needs no workers
    ".*smaller than the logging interval.*",  # figures are logged once an epoch
    ".*LeafSpec.*",  # Lightning's own, on the newest torch
    ".*No complete tensor found.*",  # torch.export's, for weights that are on the CPU
)


def quiet() -> None:
    """Silence warnings from libraries that a user can't act on."""
    for pattern in ADVICE:
        warnings.filterwarnings("ignore", pattern)


def open_output(cfg: DictConfig) -> None:
    """Create the folder `hydra.run.dir`, and start logging as `hydra.job_logging` defines.

    `hydra.main` would do the same, but it would compose the config again.
    """
    with open_dict(cfg.hydra), read_write(cfg.hydra):
        cfg.hydra.runtime.output_dir = str(Path(str(cfg.hydra.run.dir)).absolute())
    # Lightning starts the processes of other devices with the folder that it finds there.
    HydraConfig.instance().set_config(cfg)
    Path(cfg.hydra.runtime.output_dir).mkdir(parents=True, exist_ok=True)
    configure_log(cfg.hydra.job_logging, cfg.hydra.verbose)
