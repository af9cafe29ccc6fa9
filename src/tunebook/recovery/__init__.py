"""Let a run survive interruptions: trusted checkpoints, bit-exact resuming and orderly stops.

checkpoint   reads and writes the file: plain values and a digest, written whole or not at all
contents     checks what such a file holds, since anybody can write one
position     records where in a run a checkpoint was taken, in Lightning's terms
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
