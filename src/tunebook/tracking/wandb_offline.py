"""Write a run of Weights & Biases into a folder, without its servers."""

import os
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from tunebook.config.validation import Name, validate_args

# Set before a run of W&B is made. Otherwise it would read the output of this process, its command
# line and the git repository, which may contain secrets, and print lines of its own.
QUIET = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_DISABLE_STATS": "true",
}


class OfflineWandb(WandbLogger):
    """Log to a folder that `wandb sync` can send later; nothing else is sent to any server.

    project: the name of the project on W&B, in which `wandb sync` puts the run.
    """

    @validate_args
    def __init__(self, save_dir: Name, run_name: str, run_key: str, project: Name) -> None:
        super().__init__(
            name=run_name, save_dir=save_dir, version=run_key, offline=True, project=project
        )
        del self._wandb_init["anonymous"]  # which W&B no longer knows
        self._wandb_init |= {"mode": "offline", "reinit": "create_new"}

    @property
    def experiment(self) -> Any:
        """Return W&B's run, which is created on first use."""
        if self._experiment is None:
            os.environ.update(QUIET)
        return super().experiment

    def finalize(self, status: str) -> None:
        """End W&B's run, so that its files are complete."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
