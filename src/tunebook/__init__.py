"""Run image-classification experiments from one line of config.

The map, with one line for each module or package:

paths          where files are, and whether a folder can be written to
machine        the processors and the memory that this process may use
checks         a setting's type and range, checked where it is used, and the error for a wrong one
targets        the classes that a `_target_` may name: trusted packages, and the kind of its group
randomness     random numbers as a pure function of (seed, epoch, step or sample)
secrets        recognizes secrets and keeps them out of everything that is written
text_output    makes text from outside safe to print and to write into tables
runfolder      a run's folder: its record of itself, and the lock of the process that uses it
untrusted      reads files, names and YAML from outside without harm
orphans        ends processes together with the one that started them
program        how this process was called, and how the user calls other commands
torchvision_operators   lets torchvision be imported beside a torch that it was not compiled for

networks       images (B, C, H, W) -> logits (B, num_classes)
schedules      learning-rate schedules that torch does not have
classifier     the LightningModule: loss, metrics and optimizer around any network
data           sources, verified downloads, the split, batches gathered in memory, augmentation
precision      the precision in which a machine trains fastest
training       the Lightning Trainer, and the callback that reports each epoch's metrics and times
recovery       verified checkpoints, bit-exact resuming, stopping on a signal
tracking       what an MLflow run holds, and how it gets there: a journal, and a thread to send it
analysis       what runs allow to conclude: leaderboard, effects, importance, findings in sentences

experiment     one run from config to result: the only place where config becomes objects
commandline    from the command line's arguments to a checked config, and --help
sweep          many runs: an Optuna study, and workers that ask it for trials
report         compares many runs: read from MLflow, shown in a terminal and as a web page
commands       train, evaluate and so on, and the command `tunebook` that runs any of them

Imports point one way: commands -> commandline, sweep, report -> experiment -> the packages of the
second block -> those of the first. tests/test_architecture.py checks it.
"""

from tunebook.orphans import end_with_first_process
from tunebook.torchvision_operators import install_import_patch

end_with_first_process()  # as early as this: the imports that follow take seconds
install_import_patch()
