"""Turn the arguments of the command line into a checked config.

entry   wraps a script's main: checks the config before Hydra starts, reports bad input in one line
files   reads the files of conf/ for Hydra, none outside it and none that changes Hydra's settings
words   checks the overrides of a command line, and those of a run from outside
quotes  puts quotes around the values of settings that are always texts, as Hydra needs them
names   composes a config and checks its groups, options, keys and targets without importing torch
help    prints --help and --cfg job, with the comments of conf/
"""

from tunebook.commandline.entry import command

__all__ = ["command"]
