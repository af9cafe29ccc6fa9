"""Runs a finished run's stored config again and compares every figure: `python src/reproduce.py run=<run id>`."""

from typing import TYPE_CHECKING

from tunebook.commandline import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("reproduce", check="tunebook.experiment.requested_run:check_reproduction")
def main(cfg: "DictConfig") -> None:
    """Says whether the figures are the same. Exit status 1 where one is not."""
    from tunebook.experiment.reproduction import reproduce

    if not reproduce(cfg):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
