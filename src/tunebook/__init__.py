"""Tunebook: image-classification experiments that run from one line of config. The map, a line a module:

paths          where things are, and whether they can be written
machine        what this machine has: processors, memory
checks         a setting's type and range, checked where it is used; the one error a wrong setting raises
targets        which class a `_target_` may name: trusted packages, and the kind its group makes
randomness     random numbers as a pure function of (seed, epoch, step or sample)
secrets        what must not be written down
runfolder      a run's folder: what it says of itself, which process works in it
torchvision_operators   lets torchvision be imported beside a torch build that it was not compiled for

networks       images (B, C, H, W) -> logits (B, num_classes)
schedules      learning-rate schedules that torch does not have
classifier     the LightningModule: loss, metrics and optimizer around any network
data           sources, verified downloads, the split, batches gathered in memory, augmentation
precision      which arithmetic a machine computes fastest in
training       the Lightning Trainer and what follows it: epoch lines and times
recovery       checkpoints that can be trusted, resuming to the bit, stopping on a signal
tracking       what an MLflow run holds, and how it gets there: a journal, and a thread that ships it
analysis       what runs allow to conclude: leaderboard, effects, importance, findings in sentences

experiment     one run from config to result: the only place where config becomes objects
commandline    from the words on the command line to a config known to be right, and --help
sweep          many runs: an Optuna study, and workers that ask it for trials
report         from many runs to an answer: read from MLflow, told in a terminal and as a page

Imports point one way: scripts -> commandline, sweep, report -> experiment -> the rooms -> the first block.
tests/test_architecture.py proves it.
"""

from tunebook.torchvision_operators import mend_on_import

mend_on_import()
