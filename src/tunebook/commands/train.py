"""Train, test and record one experiment, or several with -m.

Example: `python src/train.py optimizer=adam model.filters=16`.
"""

from typing import TYPE_CHECKING

from tunebook.commandline import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command(
    "config",
    check="tunebook.experiment.check:check",
    resolve_resume="tunebook.experiment.resolve_resume:resolve_resume",
    sweep="tunebook.sweep.command:sweep",
)
def main(cfg: "DictConfig") -> float | None:
    """Run the experiment and return its objective, which a sweep optimizes."""
    from tunebook.experiment.run import run

    return run(cfg)
