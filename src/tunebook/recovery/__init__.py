"""Let a run survive interruptions: verified checkpoints, bit-exact resuming and clean stops.

checkpoint   reads and writes checkpoint files: plain values and a digest, written atomically
contents     checks the content of such a file, which is not trusted
position     records the position in a run at which a checkpoint was taken, as Lightning needs it
keeping      decides when checkpoints are written and which are kept
signals      stops a run on SIGTERM and Ctrl-C
"""

from tunebook.recovery.checkpoint import CheckpointError, VerifiedCheckpoints
from tunebook.recovery.keeping import CheckpointCallback
from tunebook.recovery.signals import GracefulShutdown, Stopped

__all__ = [
    "CheckpointCallback",
    "CheckpointError",
    "GracefulShutdown",
    "Stopped",
    "VerifiedCheckpoints",
]
