"""Start the process that trials on this machine are forked from.

It imports what a run needs, which takes seconds, while this process checks the sweep.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext

import psutil

from tunebook.config.paths import IS_WHEEL, PACKAGE, PROJECT
from tunebook.config.project import VARIABLE

PRELOADED = "tunebook.sweeps.executors.preloaded"  # the modules that the process imports
PRELOADED_RESULTS = "tunebook.sweeps.executors.preloaded_results"


def started(tests: bool) -> ForkServerContext:
    """Start the process unless it is there, and return the context that forks from it.

    tests: whether trials are tested, which then save pictures and a model.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED, PRELOADED_RESULTS] if tests else [PRELOADED])
    with environment():
        multiprocessing.forkserver.ensure_running()
    return context


@contextlib.contextmanager
def started_early(tests: bool) -> Iterator[None]:
    """Start the process, and kill it if the block ends with an error.

    It would end by itself after its imports. Until then, it would hold this process's output open,
    so that a program that reads this output would wait for seconds.
    """
    before = set(_running())
    started(tests)
    try:
        yield
    except BaseException:
        for process in set(_running()) - before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        raise


def _running() -> Iterator[psutil.Process]:
    """Yield the fork servers that this process has started, its own and those of other code."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("multiprocessing.forkserver" in word for word in child.cmdline()):
                yield child


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Let processes that are started within the block find this package and the user's project.

    This does not depend on which script started this process, or in which folder. A wheel is
    importable anyway.
    """
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", VARIABLE)}
    if not IS_WHEEL:
        paths = filter(None, [str(PACKAGE.parent), before["PYTHONPATH"]])
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ.setdefault(VARIABLE, named_project())
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def named_project() -> str:
    """Return this process's project as the environment variable names it to another process."""
    return "" if PROJECT is None else str(PROJECT.folder)
