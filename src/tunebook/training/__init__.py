"""Train so that a run survives interruptions: exact resume, verified checkpoints, clean stops.

trainer              makes the Lightning Trainer
epoch_logger         prints a line for each epoch, and logs its times
precision            chooses the precision in which a machine trains fastest
checkpoint           reads and writes checkpoint files: plain values and a digest, atomically
checkpoint_contents  checks the content of such a file, which is not trusted
checkpointing        decides when checkpoints are written and which are kept
averaging            averages the weights over steps or epochs: EMA and SWA
position             records the position at which a checkpoint was taken, as Lightning needs it
signals              stops a run on SIGTERM and Ctrl-C
"""

from tunebook.training.checkpoint import CheckpointError, VerifiedCheckpoints
from tunebook.training.checkpointing import CheckpointCallback
from tunebook.training.signals import GracefulShutdown, Stopped

__all__ = [
    "CheckpointCallback",
    "CheckpointError",
    "GracefulShutdown",
    "Stopped",
    "VerifiedCheckpoints",
]
