"""Record runs in MLflow: what is recorded, and how it reaches the tracking store.

tracker         the Lightning logger that training sees: opens a run, records it and closes it
mlflow_tracker  the tracker that records in MLflow, and in further loggers beside it
further_loggers logs what a run's journal holds to further Lightning loggers
wandb_offline   the logger that writes a run of Weights & Biases into a folder
journal         a run's append-only record on disk, which survives a kill
records         the kinds of record that a journal may hold, and what each must contain
arrived         remembers how much of a run's journal the store has received
sending         sends each kind of record to MLflow
delivery        sends the records that wait in a journal, in order
uploader        delivers in a background thread, with retries, what this and earlier runs recorded
run_reader      reads which runs a store holds, without importing MLflow's client
run_lookup      finds the run or the sweep that a user names
address         checks the address of a store
store           opens and checks a store, and creates the local sqlite file
describe        builds a run's name and tags from plain settings
git             asks git for the commit and its state, without running a repository's own commands
model           writes and sends the network as an MLflow model
tunebook_exported_model  loads that model in a process that does not have Tunebook
pictures        draws the confusion matrix, learning curves and worst-classified images
error_pictures  draws the calibration of the probabilities, and the most confused classes
grad_cam        draws which parts of images the network's decision depends on
system_metrics  samples CPU, memory, disk, network and GPU
view            defines the initial view of MLflow's page of runs
ui              serves MLflow's UI on this machine only
bound_server    runs a server that ends with the process that started it
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Set before mlflow is imported: no telemetry, no progress bars of MLflow between ours, and few
# retries, so that a missing server is noticed within seconds. Variables of the user are kept.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

if TYPE_CHECKING:
    from tunebook.tracking.mlflow_tracker import MLflowTracker
    from tunebook.tracking.tracker import NoTracker, Tracker

__all__ = ["MLflowTracker", "NoTracker", "Tracker"]
MODULES = {"MLflowTracker": "mlflow_tracker", "NoTracker": "tracker", "Tracker": "tracker"}


def __getattr__(name: str) -> Any:
    """Import the trackers on first use.

    They import Lightning and torch, which takes seconds. Code that only reads runs needs neither.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"tunebook.tracking.{MODULES[name]}"), name)
    globals()[name] = found
    return found
