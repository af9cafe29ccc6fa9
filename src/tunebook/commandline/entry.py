"""Wrap a script's main: check the config before Hydra starts, and report bad input in one line.

The exit status is 0 for success and 2 for bad input, which leaves nothing behind. It is 1 if a run
failed or was not reproduced, 130 after Ctrl-C, and 143 after SIGTERM.
"""

import argparse
import functools
import gc
import importlib
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from tunebook.checks import InputError, SettingError, one_line
from tunebook.commandline import help as annotated
from tunebook.commandline.files import ConfigError
from tunebook.commandline.names import compose_config
from tunebook.commandline.quotes import spelt
from tunebook.paths import CONF
from tunebook.program import call
from tunebook.secrets import learn_words, redact, redact_output

BAD_INPUT = 2
MAX_LINE, SHORT = 1000, 80  # characters
ADVICE = (
    ".*does not have many workers.*",  # gathering from memory needs no workers
    ".*smaller than the logging interval.*",  # figures are logged once an epoch
    ".*LeafSpec.*",  # Lightning's own, on the newest torch
    ".*No complete tensor found.*",  # torch.export's, for weights that are on the CPU
)
Task = Callable[[DictConfig], Any]


def command(
    config_name: str,
    check: str | None = None,
    resolve_resume: str | None = None,
    sweep: str | None = None,
) -> Callable[[Task], Callable[[], None]]:
    """Return a decorator that makes `task(cfg)` a script's entry point.

    Each of the other arguments is "module:function". check: is called with the config and Hydra's
    choices before anything is created. resolve_resume: is called if the config's `resume` names a
    run, and returns the overrides of that run and of this call together. sweep: is called with the
    overrides of a call with -m, runs the sweep, and returns the exit status.
    """

    def decorate(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def entry() -> None:
            gc.disable()  # imports make no garbage, and take a tenth less time
            learn_words(sys.argv[1:])
            redact_output()
            arguments = _arguments(config_name)
            try:
                if arguments.multirun and not arguments.help and arguments.cfg is None:
                    sys.exit(_sweep(arguments, sweep))
                if _prepare(
                    arguments, config_name, check, resolve_resume, sweeps=sweep is not None
                ):
                    _start(task, config_name)
            except KeyboardInterrupt:
                fail("stopped by SIGINT", 130)
            finally:
                gc.enable()

        return entry

    return decorate


def _arguments(config_name: str) -> argparse.Namespace:
    """Parse the command line, and rewrite sys.argv with the flags first.

    Hydra would refuse an override after a flag that follows another override.
    """
    parser = get_args_parser()
    # Overridden, since argparse would print its usage as well.
    parser.error = lambda message: fail(message, BAD_INPUT)  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args()
    flags = list(sys.argv[1:])
    for override in arguments.overrides:
        flags.remove(override)
    arguments.overrides = spelt(config_name, arguments.overrides)
    sys.argv[1:] = [*flags, *arguments.overrides]
    return arguments


def _prepare(
    arguments: argparse.Namespace,
    config_name: str,
    check: str | None,
    resolve_resume: str | None,
    sweeps: bool,
) -> bool:
    """Handle --help and --cfg job, and exit with an error for bad input.

    Return whether Hydra has to run afterwards.
    """
    try:
        _refuse_other_configs(arguments)
        if arguments.shell_completion:
            return True
        cfg = compose_config(config_name, arguments.overrides)
        if arguments.hydra_help or arguments.info:
            return True
        if (
            sweeps
            and not arguments.multirun
            and (
                idle := [word for word in arguments.overrides if re.match(r"[+~]*sweep[.=]", word)]
            )
        ):
            raise ConfigError(f"{idle[0]}: is for many runs: add -m")
        if resolve_resume is not None and cfg.resume is not None:
            cfg = _resumed(cfg, arguments, config_name, resolve_resume)
        if arguments.help:
            print(annotated.help_text(config_name, cfg, sys.argv[0]))
            return False
        if arguments.cfg == "job" and not arguments.package and not arguments.resolve:
            print(annotated.with_comments(config_name, cfg))
            return False
        if arguments.cfg is None and check is not None:
            _check(cfg, check)
        return True
    except (ConfigError, SettingError, InputError, OmegaConfBaseException) as error:
        fail(str(error).strip().splitlines()[0], BAD_INPUT)


def _sweep(arguments: argparse.Namespace, sweep: str | None) -> int:
    try:
        if sweep is None:
            train = call("train")
            raise ConfigError(
                f"-m: trains many runs, which is what {Path(train[-1]).name} does: "
                f"{' '.join(train)} -m ..."
            )
        _refuse_other_configs(arguments)
        quiet()
        return int(_function(sweep)(arguments.overrides))
    except (ConfigError, SettingError, InputError, OmegaConfBaseException) as error:
        fail(str(error).strip().splitlines()[0], BAD_INPUT)


def _resumed(
    cfg: DictConfig, arguments: argparse.Namespace, config_name: str, resolve_resume: str
) -> DictConfig:
    """Return the config of the run to resume, with the overrides of this call.

    sys.argv is changed as if the user had written all of the overrides.
    """
    quiet()
    overrides = _function(resolve_resume)(cfg, arguments.overrides)
    sys.argv[1:] = arguments.overrides = overrides
    return compose_config(config_name, overrides)


def _function(path: str) -> Callable[..., Any]:
    """Import and return the function that "module:function" names."""
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _refuse_other_configs(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for flags that would make Hydra use a config other than the checked one."""
    for flag in ("config_path", "config_name", "config_dir", "experimental_rerun"):
        if getattr(arguments, flag) is not None:
            raise ConfigError(
                f"--{flag.replace('_', '-')} is not supported: add a YAML file to conf/ instead"
            )


def _check(cfg: DictConfig, check: str) -> None:
    quiet()
    choices = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    _function(check)(cfg, choices)


def quiet() -> None:
    """Silence warnings of libraries about what a user can't change."""
    for pattern in ADVICE:
        warnings.filterwarnings("ignore", pattern)


class _Failed(BaseException):
    """Carry a run's error past Hydra, which would print a message of its own about it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def start(task: Task, config_name: str) -> None:
    """Run the task through Hydra with the arguments in sys.argv; raise what the task raises."""

    @functools.wraps(task)
    def carrying(cfg: DictConfig) -> Any:
        gc.enable()
        try:
            return task(cfg)
        except Exception as error:
            raise _Failed(error) from error

    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error in its own way, and exits
    # Needed for deterministic matrix products on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(carrying)()
    except _Failed as carried:
        raise carried.error from carried.error.__cause__


def _start(task: Task, config_name: str) -> None:
    """Run the task through Hydra, and report an error in one line."""
    user_wants_traceback = "HYDRA_FULL_ERROR" in os.environ
    try:
        start(task, config_name)
    except Exception as error:
        if user_wants_traceback:
            raise
        _fail_with(error)
    except BaseException as error:
        if not hasattr(error, "exit_code"):
            raise
        fail(str(error), error.exit_code)


def _fail_with(error: Exception) -> NoReturn:
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, SettingError | ConfigError | InputError):
        fail(line, BAD_INPUT)
    fail(f"{type(error).__name__}: {line}", 1)


def fail(message: str, status: int) -> NoReturn:
    """Print one line on standard error and exit with `status`.

    Secrets are redacted, and control characters are written as escapes.
    """
    message = one_line(redact(shortened(message)))
    print(f"error: {message}" if status in (1, BAD_INPUT) else message, file=sys.stderr)
    sys.exit(status)


def shortened(message: str) -> str:
    """Return a message cut to about a thousand characters.

    It is cut between two words, so that no secret is cut in two and then not recognized.
    """
    if len(message) <= MAX_LINE:
        return message
    head = message[:MAX_LINE].rpartition(" ")[0]
    return f"{head or message[:SHORT]} ..."
