"""Wrap a script's main: check the config before Hydra starts, and report bad input in one line.

The exit status is 0 for success and 2 for bad input, which leaves nothing behind. It is 1 if a run
failed or was not reproduced, 130 after Ctrl-C, and 143 after SIGTERM.
"""

import argparse
import atexit
import functools
import gc
import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tunebook.cli import help as annotated
from tunebook.config.compose import compose_config
from tunebook.config.files import ConfigError
from tunebook.config.output import open_output, quiet
from tunebook.config.overrides import require_one_run
from tunebook.config.paths import CONF
from tunebook.config.quotes import normalize_overrides
from tunebook.config.validation import InputError, SettingError, one_line
from tunebook.program import call
from tunebook.redaction import learn_words, redact, redact_output

# At its end, the interpreter would look for garbage among everything that has been imported.
atexit.register(gc.freeze)

BAD_INPUT = 2
MAX_LINE, SHORT = 1000, 80  # characters
Task = Callable[[Any], Any]


def command(
    config_name: str,
    read: Callable[[DictConfig], Any] = lambda cfg: cfg,
    check: str | None = None,
    resolve_resume: str | None = None,
    sweep: str | None = None,
) -> Callable[[Task], Callable[[], None]]:
    """Return a decorator that makes `task(config)` a script's entry point.

    read: makes `config` of the composed config. Each of the other arguments is "module:function".
    check: is called with `config` before anything is created. resolve_resume: is called if the
    config's `resume` names a run, and returns the overrides of that run and of this call together.
    sweep: is called with the overrides of a call with -m, runs the sweep, and returns the exit
    status.
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
                cfg = _prepare(
                    arguments, config_name, _summary(task), read, check, resolve_resume,
                    sweeps=sweep is not None,
                )  # fmt: skip
                if cfg is not None:
                    _run(task, read, cfg)
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
    parser.error = _refuse  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args()
    flags = list(sys.argv[1:])
    for override in arguments.overrides:
        flags.remove(override)
    arguments.overrides = normalize_overrides(config_name, arguments.overrides)
    sys.argv[1:] = [*flags, *arguments.overrides]
    return arguments


def _refuse(message: str) -> NoReturn:
    """Report what argparse refused, with the override that a flag such as --seed=1 stands for."""
    override = re.search(r"--(\w[\w.]*=.*)", message)
    fail(f"{message}{f'; write {override[1]}' if override else ''}", BAD_INPUT)


def _summary(task: Task) -> str:
    """Return the first line of a task's module, which says what the command does."""
    return (sys.modules[task.__module__].__doc__ or "").partition("\n")[0]


def _prepare(
    arguments: argparse.Namespace,
    config_name: str,
    summary: str,
    read: Callable[[DictConfig], Any],
    check: str | None,
    resolve_resume: str | None,
    sweeps: bool,
) -> DictConfig | None:
    """Return the checked config, or None if the flags only request output.

    Exit with an error for bad input.
    """
    try:
        _refuse_other_configs(arguments)
        if arguments.shell_completion:
            _show_by_hydra(config_name)
            return None
        cfg = compose_config(config_name, arguments.overrides)
        if sweeps and not arguments.multirun and not arguments.help:
            require_one_run(arguments.overrides, "add -m")
        if resolve_resume is not None and cfg.resume is not None:
            cfg = _resumed(cfg, arguments, config_name, resolve_resume)
        if arguments.help:
            print(annotated.help_text(config_name, cfg, sys.argv[0], summary))
            return None
        if arguments.cfg == "job" and not arguments.package and not arguments.resolve:
            print(annotated.with_comments(config_name, cfg))
            return None
        if arguments.cfg is not None or arguments.hydra_help or arguments.info:
            _show_by_hydra(config_name)
            return None
        if check is not None:
            quiet()
            _function(check)(read(cfg))
        return cfg
    except (ConfigError, SettingError, InputError, OmegaConfBaseException) as error:
        fail(str(error).strip().splitlines()[0], BAD_INPUT)


def _sweep(arguments: argparse.Namespace, sweep: str | None) -> int:
    try:
        if sweep is None:
            train = call("train")
            raise ConfigError(
                f"-m: runs a sweep, which only {Path(train[-1]).name} can do: "
                f"{' '.join(train)} -m ..."
            )
        _refuse_other_configs(arguments)
        quiet()
        return int(_function(sweep)(arguments.overrides))
    except (ConfigError, SettingError, InputError, OmegaConfBaseException) as error:
        fail(str(error).strip().splitlines()[0], BAD_INPUT)
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        fail(str(error), error.exit_code)


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


def _show_by_hydra(config_name: str) -> None:
    """Let Hydra show what its own flags ask for, such as --info and the completion of a shell."""
    show = hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")
    show(lambda cfg: None)()


def _run(task: Task, read: Callable[[DictConfig], Any], cfg: DictConfig) -> None:
    """Run the task, and report an error in one line."""
    gc.freeze()  # what has been imported is no garbage
    gc.enable()
    try:
        open_output(cfg)
        task(read(cfg))
    except Exception as error:
        if "HYDRA_FULL_ERROR" in os.environ:  # the user wants a traceback
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
