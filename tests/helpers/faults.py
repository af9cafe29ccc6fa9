"""Run train.py with a fault at a chosen moment, in a process with everything imported."""

import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import tunebook  # noqa: F401  (mends the import of torchvision)

# Modules that a run imports late. Importing them takes most of the time of a small run.
PRELOADED = (
    "matplotlib.backends.backend_agg", "mlflow.pytorch", "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.datasets", "sklearn.model_selection", "tunebook.runs.check",
    "tunebook.runs.execute", "tunebook.config.compose",
)  # fmt: skip
for module in PRELOADED:
    importlib.import_module(module)

ROOT = Path(__file__).resolve().parents[2]
# The fork server's own process finds the module to preload only by this path.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
)
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__])


def run_train(
    arguments: tuple[str, ...], log: Path, fault: Callable[..., None] | None = None, *at: Any
) -> int:
    """Run train.py and return its exit status, negative where a signal killed it.

    `fault(*at)` is called in the process before train.py starts.
    """
    process = start_train(arguments, log, fault, *at)
    process.join(120)
    assert process.exitcode is not None, f"still at work: {log.read_text()}"
    return process.exitcode


def start_train(
    arguments: tuple[str, ...], log: Path, fault: Callable[..., None] | None = None, *at: Any
) -> BaseProcess:
    process = FORKSERVER.Process(target=_train, args=(arguments, str(log), fault, at))
    process.start()
    return process


def _train(
    arguments: tuple[str, ...], log: str, fault: Callable[..., None] | None, at: tuple[Any, ...]
) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if fault is not None:
        fault(*at)
    script = ROOT / "src" / "train.py"
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def at_call(owner: Any, name: str, count: int, what: Callable[[], None]) -> None:
    """Patch `owner.name` so that its `count`-th call (from 1) first calls `what`."""
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            what()
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def send(signum: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), signum)


def signal_in_training(signum: int, count: int) -> None:
    from tunebook.task import ClassificationTask

    at_call(ClassificationTask, "training_step", count, send(signum))


def signal_in_validation(signum: int, count: int) -> None:
    from tunebook.task import ClassificationTask

    at_call(ClassificationTask, "validation_step", count, send(signum))


def signal_in_save(signum: int, count: int) -> None:
    """Send a signal in a call of `Path.replace`, before the file is in its place.

    The file is a checkpoint, the run folder's own record or the delivery's.
    """
    at_call(Path, "replace", count, send(signum))


def nothing_finite(count: int) -> None:
    """Make the loss of one step NaN."""
    import torch.nn.functional as functional

    original, calls = functional.cross_entropy, [0]

    def broken(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        loss = original(*args, **kwargs)
        return loss * float("nan") if calls[0] == count else loss

    functional.cross_entropy = broken


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the condition's value as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def faulty_work(faults_at: tuple[int, ...], spec: Any, parent_pipe: Any, gpu: str) -> None:
    """Run a sweep's worker with a fault in the trials of `faults_at`.

    The first trial raises in training, the second is killed, the third diverges and the fifth
    hangs.
    """
    from tunebook.sweeps.worker import work
    from tunebook.task import ClassificationTask

    def raise_a_fault() -> None:
        raise RuntimeError("a fault")

    what = {0: raise_a_fault, 1: send(signal.SIGKILL), 4: lambda: time.sleep(600)}
    if spec.number in faults_at and spec.number == 2:
        nothing_finite(5)
    elif spec.number in faults_at:
        at_call(ClassificationTask, "training_step", 5, what[spec.number])
    work(spec, parent_pipe, gpu)


def killed_while_closing(at: str, spec: Any, parent_pipe: Any, gpu: str) -> None:
    """Run a sweep's worker that is killed when its trial has a result.

    at: "record" or "folder", which is about to be closed, or "end", when both are.
    """
    from tunebook.run_folder import RunFolder
    from tunebook.runs import record
    from tunebook.sweeps.worker import work

    if not (spec.folder / "result.json").exists():  # the second start of the trial goes well
        owner, name = {
            "record": (record, "close_run"),
            "folder": (RunFolder, "close"),
            "end": (record, "log_next_steps"),
        }[at]
        at_call(owner, name, 1, send(signal.SIGKILL))
    work(spec, parent_pipe, gpu)


def no_work(spec: Any, parent_pipe: Any, gpu: str) -> None:
    """End a sweep's worker at once, as on a machine where none can run."""
    os._exit(3)
