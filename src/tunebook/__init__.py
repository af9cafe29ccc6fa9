"""Run image-classification experiments from one line of config.

The map, with one line for each module or package:

config         Hydra's composition into one checked config, and the role of every setting
machine        the processors and the memory that this process may use
randomness     random numbers as a pure function of (seed, epoch, step or sample)
redaction      recognizes secrets and keeps them out of everything that is written
tags           the names of the tags of MLflow runs that are read again
text_output    makes untrusted text safe to print and to write into tables
run_folder     a run's folder: the record `run.json`, and the lock of the process that uses it
untrusted      reads files, names and YAML that are not trusted
orphans        ends child processes when the process that started them ends
program        how this process was called, and how the user calls other commands
metrics        what is known of each metric, and how it is computed
torchvision_operators   makes torchvision importable with a torch that it was not compiled for
torchmetrics_import     imports torchmetrics without packages that classifiers do not need

networks       of our own and of libraries: images (B, C, H, W) -> logits (B, num_classes)
losses         what training minimizes
schedules      learning-rate schedules that torch does not have
task           the LightningModule: loss, metrics and optimizer around any network
data           sources, verified downloads, the split, batches, augmentation, preprocessing
training       the Lightning Trainer, precision, checkpoints, exact resume, stopping on a signal
tracking       what is recorded in MLflow, and how: a journal, and a thread that sends it
analysis       what can be concluded from runs: leaderboard, effects, importance, sentences

runs           one run from config to result; only this package builds objects from a config
sweeps         many runs: an Optuna study, and workers that run its trials
report         compares many runs: read from MLflow, shown in a terminal and as a web page
session        printing, logging and Ctrl-C in a notebook or a script
api            the same from Python: train, sweep, load, compare
schema         describes the files of conf/ to an editor
bench          measures speed beside a plain loop and other frameworks
cli            the commands: train, evaluate and so on, and `tunebook` that runs any of them

Imports point one way: cli, api -> sweeps, report, schema, bench -> runs -> the packages of the
second block -> those of the first. tests/unit/test_architecture.py checks it.
"""

import warnings
from typing import TYPE_CHECKING, Any

from tunebook import torchmetrics_import
from tunebook.orphans import end_with_first_process
from tunebook.torchvision_operators import install_import_patch

if TYPE_CHECKING:
    from tunebook.api import Comparison, Run, Sweep, compare, load, sweep, train

__all__ = ["Comparison", "Run", "Sweep", "compare", "load", "sweep", "train"]

end_with_first_process()  # first, because the imports that follow take seconds
install_import_patch()
torchmetrics_import.install()


def __getattr__(name: str) -> Any:
    """Import what `tunebook.<name>` needs only once it is used, since that takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'tunebook' has no attribute {name!r}")
    with warnings.catch_warnings():
        # tqdm about its bars in notebooks without ipywidgets, which it draws as text instead.
        warnings.filterwarnings("ignore", "IProgress not found")
        import tunebook.api

    return getattr(tunebook.api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
