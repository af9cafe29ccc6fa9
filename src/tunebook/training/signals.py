"""Stop a run on SIGTERM and Ctrl-C, and when its time is over.

The current batch is finished, a checkpoint is written, and the process ends with the exit status
that a shell expects.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from tunebook.training.checkpointing import CheckpointCallback


class Stopped(BaseException):
    """Report that the run was asked to end before its time, with a checkpoint.

    exit_code: of the process, as a shell reports it.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(f"stopped by {reason}")
        self.exit_code = exit_code


def stopped_by(signum: int) -> Stopped:
    """Return what reports a signal; the exit status is 128 plus the signal's number."""
    return Stopped(signal.Signals(signum).name, 128 + signum)


TIME_IS_OVER = 124  # the exit status of the command `timeout`
SIGNALS = (signal.SIGTERM, signal.SIGINT)
Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Handle SIGTERM and SIGINT with `handler` until the block is left.

    Outside the main thread, which alone receives signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)


class GracefulShutdown(Callback):
    """Stop a run at the end of the current training or validation batch, or else immediately.

    If gradients are accumulated, it stops at the end of the optimizer step. A second signal ends
    the process at once.
    max_time: seconds of training after which it stops as well; None: no limit.
    """

    def __init__(self, max_time: float | None = None) -> None:
        self.max_time, self._end = max_time, math.inf
        self.signum: int | None = None
        self.in_loop = False
        self.checkpoints: CheckpointCallback | None = None  # where the state is saved

    def listening(self) -> AbstractContextManager[None]:
        """Handle SIGTERM and SIGINT until the block is left."""
        return handling(self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum
        if not self.in_loop:
            raise stopped_by(signum)
        os.write(2, b"\nstopping at the end of this batch; once more to stop at once\n")

    def _check(self, trainer: Trainer, done: int) -> None:
        """Save a checkpoint and raise Stopped if a signal has been received, or the time is over.

        done: the number of completed training batches of this epoch.
        """
        waits = done % trainer.accumulate_grad_batches and done < trainer.num_training_batches
        if waits:  # a checkpoint does not hold the gradients of an unfinished step
            return
        asked = self.signum is not None or time.monotonic() >= self._end
        # All processes must stop at the same batch, or some would wait forever.
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        if self.checkpoints is not None:
            self.checkpoints.save(trainer, done)
        if self.signum is None and time.monotonic() >= self._end:
            raise Stopped(f"trainer.max_time={self.max_time:g}", TIME_IS_OVER)
        raise stopped_by(self.signum or signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the SIGTERM handler that Lightning has set.

        With Lightning's handler, a killed run would exit with status 0.
        """
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._handle)
        self.in_loop = True
        if self.max_time is not None:
            self._end = time.monotonic() + self.max_time
        if self.signum is not None:
            raise stopped_by(self.signum)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop training here if a signal has been received."""
        self._check(trainer, batch_idx + 1)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop validation here if a signal has been received."""
        self._check(trainer, int(trainer.num_training_batches))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals stop the run immediately from now on."""
        self.in_loop = False
        if self.signum is not None:
            raise stopped_by(self.signum)
