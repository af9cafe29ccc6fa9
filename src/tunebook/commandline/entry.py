"""Wraps a script's main: checks every config of the call before Hydra starts, and answers bad input in one line.

Exit status: 0 done; 2 bad input (nothing was made); 1 a run failed; 130, 143 stopped by Ctrl-C, SIGTERM.
"""

import argparse
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from tunebook.checks import SettingError
from tunebook.commandline import help as annotated
from tunebook.commandline.names import ConfigError, compose_points
from tunebook.paths import CONF

BAD_INPUT = 2
Task = Callable[[DictConfig], Any]


def command(config_name: str, check: str | None = None) -> Callable[[Task], Callable[[], None]]:
    """Makes `task(cfg)` a script's entry point. check: "module:function" called with each config and its choices before anything is made."""

    def decorate(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def entry() -> None:
            arguments = get_args_parser().parse_args()
            if _prepare(arguments, config_name, check, task.__module__):
                _start(task, config_name)

        return entry

    return decorate


def _prepare(arguments: argparse.Namespace, config_name: str, check: str | None, script: str) -> bool:
    """Answers --help and --cfg job, and refuses what is wrong. True where Hydra shall go on."""
    try:
        _refuse_other_configs(arguments)
        if arguments.hydra_help or arguments.shell_completion or arguments.info:
            return True
        configs = compose_points(config_name, arguments.overrides, arguments.multirun)
        if arguments.help:
            print(annotated.help_text(config_name, configs[0], sys.argv[0]))
            return False
        if arguments.cfg == "job" and not arguments.package and not arguments.resolve:
            print(annotated.with_comments(config_name, configs[0]))
            return False
        if arguments.cfg is None and check is not None:
            _check_all(configs, check)
        return True
    except (ConfigError, SettingError, OmegaConfBaseException) as error:
        fail(str(error).strip().splitlines()[0], BAD_INPUT)


def _refuse_other_configs(arguments: argparse.Namespace) -> None:
    """One conf/ folder holds all configs; what was checked is what runs."""
    for flag in ("config_path", "config_name", "config_dir", "experimental_rerun"):
        if getattr(arguments, flag) is not None:
            raise ConfigError(f"--{flag.replace('_', '-')} is not supported: add a YAML file to conf/ instead")


def _check_all(configs: list[DictConfig], check: str) -> None:
    quiet()
    module, _, name = check.partition(":")
    function = getattr(importlib.import_module(module), name)
    for cfg in configs:
        choices = dict(cfg.hydra.runtime.choices)
        with open_dict(cfg):
            del cfg["hydra"]
        function(cfg, choices)


def quiet() -> None:
    """Keeps out of the log what libraries warn of and a user can't change."""
    for pattern in (".*does not have many workers.*", ".*LeafSpec.*", ".*smaller than the logging interval.*", ".*No complete tensor found.*"):
        warnings.filterwarnings("ignore", pattern)


def _start(task: Task, config_name: str) -> None:
    user_wants_traceback = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error in its own way, and exits
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products on a GPU need
    try:
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(task)()
    except Exception as error:
        if user_wants_traceback:
            raise
        bad_input = isinstance(error, SettingError | ConfigError) or type(error).__name__ in ("DataError", "RunNotFound")
        line = " ".join(str(error).split()) or type(error).__name__
        fail(line if bad_input else f"{type(error).__name__}: {line} (HYDRA_FULL_ERROR=1 shows where)", BAD_INPUT if bad_input else 1)
    except BaseException as error:
        exit_code = getattr(error, "exit_code", None)
        if exit_code is None:
            raise
        fail(str(error), exit_code)


def fail(message: str, status: int) -> NoReturn:
    """One line on standard error, and the exit status."""
    print(f"error: {message}" if status in (1, BAD_INPUT) else message, file=sys.stderr)
    sys.exit(status)
