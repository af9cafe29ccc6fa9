"""What an MLflow run holds, and how it gets there.

tracker    the run itself: opened, fed in batches, closed with the status that the process ends with
finished   a finished run, read back
store      the local sqlite store, created once however many processes start
describe   a run's name, parameters and tags, from plain settings
pictures   confusion matrix, learning curves, the worst-classified images
view       what MLflow's page of runs opens on
secrets    what must not be written down
"""

from tunebook.tracking.tracker import MLflowTracker, NoTracker, Tracker

__all__ = ["MLflowTracker", "NoTracker", "Tracker"]
