"""Compose, check and hold the config of a run; this package imports neither torch nor Lightning.

project      finds the user's project, whose config files and classes come before Tunebook's
paths        where files are, and whether a folder can be written to
validation   checks a setting's type and range, and reports a wrong one
roles        what each setting is for: its role decides how it is recorded and compared
targets      the classes that a `_target_` may name: which packages and base classes are allowed
files        reads config files for Hydra, only from conf/ and the project; refuses changes to
             Hydra's own settings
quotes       puts quotes around the values of text settings, so that Hydra parses them as text
overrides    checks the overrides of a command line, and those of an untrusted run
compose      composes a config and checks its groups, options, keys and targets
run_config   one run's config, composed and resolved once, as plain values
comments     reads the comments of conf/
output       creates a run's output folder, starts its log, and silences libraries
"""
