"""What an MLflow run holds, and how it gets there.

tracker    the run itself, as training sees it: opened, told, closed with the status that the process ends with
journal    its record on disk, which a kill leaves whole
records    what may stand in it
arrived    what of it the store has received
sending    how each kind of record is sent
delivery   sends what waits, in order
shipper    does so in a thread of its own and as often as it takes; and delivers what earlier runs have left
run_reader reads which runs a store holds, without MLflow's client
run_lookup finds the run or the sweep that a user names
finished   a finished run, read back
address    what is wrong with a store's address
store      the local sqlite file
describe   a run's name, parameters and tags, from plain settings
git        asks git for a commit and its state, without running what a repository names
model      the network as an MLflow model
tunebook_exported_model  loads it, in a process that knows nothing of Tunebook
pictures   confusion matrix, learning curves, the worst-classified images
system_metrics   what the machine is doing
view       what MLflow's page of runs opens on
ui         MLflow's pages, served for this machine alone
bound_server  runs a server that ends when the process that started it does
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Before mlflow is imported: no usage reports, no progress bars of its own between ours, and an answer within seconds from a server
# that is not there. A user's own choice stands.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

if TYPE_CHECKING:
    from tunebook.tracking.tracker import MLflowTracker, NoTracker, Tracker

__all__ = ["MLflowTracker", "NoTracker", "Tracker"]


def __getattr__(name: str) -> Any:
    """The trackers, at first use: they bring Lightning and torch, seconds that whoever only reads runs does not need."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module("tunebook.tracking.tracker")
    globals().update({each: getattr(module, each) for each in __all__})
    return globals()[name]
