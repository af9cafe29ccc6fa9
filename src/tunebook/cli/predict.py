"""Classify image files with a finished run's weights.

Example: `python src/predict.py run=<run id> images=photo.png`.
"""

from typing import TYPE_CHECKING

from tunebook.cli.entry import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("predict", check="tunebook.runs.requested_run:check_prediction")
def main(cfg: "DictConfig") -> None:
    """Print one line for each image, or write them as CSV to the file `output`.

    The exit status is 1 if an image could not be read.
    """
    from tunebook.runs.predict import predict

    if not predict(cfg):
        raise SystemExit(1)
