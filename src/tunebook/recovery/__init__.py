"""What lets a run survive: checkpoints that can be trusted, resuming to the bit, stopping in good order.

checkpoint   the file: plain values and a digest, written whole or not at all
contents     what such a file may hold, since anybody can write one
position     where in a run a checkpoint was taken, in Lightning's terms
keeping      when checkpoints are written, and which are kept
signals      SIGTERM and Ctrl-C
"""

from tunebook.recovery.checkpoint import CheckpointError, VerifiedCheckpoints
from tunebook.recovery.keeping import KeepCheckpoints
from tunebook.recovery.signals import StopAtBatchEnd, Stopped

__all__ = ["CheckpointError", "KeepCheckpoints", "StopAtBatchEnd", "Stopped", "VerifiedCheckpoints"]
