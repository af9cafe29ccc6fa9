"""Turn the arguments of the command line into a checked config.

entry   wraps a script's main: checks the config before Hydra starts, and reports bad input
files   reads config files for Hydra, only from conf/, and refuses changes to Hydra's own settings
words   checks the overrides of a command line, and those of an untrusted run
quotes  puts quotes around the values of text settings, so that Hydra parses them as text
names   composes a config and checks its groups, options, keys and targets without importing torch
help    prints --help and --cfg job, with the comments of conf/
"""

from tunebook.commandline.entry import command

__all__ = ["command"]
