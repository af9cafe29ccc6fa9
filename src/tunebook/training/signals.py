"""Stop a run on SIGTERM and Ctrl-C.

The current batch is finished, a checkpoint is written, and the process ends with the exit status
that a shell expects.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from tunebook.training.checkpointing import CheckpointCallback


class Stopped(BaseException):
    """Report that a signal asked the process to end.

    exit_code: 128 plus the signal's number, as a shell reports it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


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

    A second signal ends the process at once.
    """

    def __init__(self) -> None:
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
            raise Stopped(signum)
        os.write(2, b"\nstopping at the end of this batch; once more to stop at once\n")

    def _check(self, trainer: Trainer, done: int) -> None:
        """Save a checkpoint and raise Stopped if a signal has been received.

        done: the number of completed training batches of this epoch.
        """
        asked = self.signum is not None
        # All processes must stop at the same batch, or some would wait forever.
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        if self.checkpoints is not None:
            self.checkpoints.save(trainer, done)
        raise Stopped(self.signum or signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the SIGTERM handler that Lightning has set.

        With Lightning's handler, a killed run would exit with status 0.
        """
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._handle)
        self.in_loop = True
        if self.signum is not None:
            raise Stopped(self.signum)

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
            raise Stopped(self.signum)
