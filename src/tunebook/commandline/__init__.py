"""From the words on the command line to a config known to be right.

entry   wraps a script's main: checks the config before Hydra starts, and answers bad input in one line
files   reads the files of conf/ for Hydra: none outside it, and none that sets anything of Hydra's
words   checks the words of a command line, and those of a run from outside
names   composes and checks names: groups, options, keys, targets; no torch, about a second
help    --help and --cfg job with the comments of conf/
"""

from tunebook.commandline.entry import command

__all__ = ["command"]
