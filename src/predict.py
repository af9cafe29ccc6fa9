"""Says what images show, with a finished run's weights: `python src/predict.py run=<run id> images=photo.png`."""

from typing import TYPE_CHECKING

from tunebook.commandline import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("predict", check="tunebook.experiment.requested_run:check_prediction")
def main(cfg: "DictConfig") -> None:
    """Prints a line an image; with `output`, writes them as CSV. Exit status 1 where one could not be read."""
    from tunebook.experiment.prediction import predict

    if not predict(cfg):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
