"""Record a sweep's parent run in MLflow.

It holds the request and, in the end, the table of trials. It has no metrics, because it is not a
result itself.
"""

import contextlib
import csv
import io
import json
import threading
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from tunebook.config.paths import ROOT
from tunebook.config.run_config import RunConfig
from tunebook.run_folder import RunFolder
from tunebook.runs.assemble import make_tracker
from tunebook.sweeps.request import Request
from tunebook.sweeps.show import table
from tunebook.sweeps.storage import StudyUnavailable
from tunebook.sweeps.study import SweepStudy
from tunebook.tags import SWEEP_KIND, SWEEP_NAME
from tunebook.tracking import Tracker, describe, journal, view
from tunebook.tracking.journal import Journal
from tunebook.tracking.tracker import Status
from tunebook.tracking.uploader import JOURNAL, end_lost_trials, upload_pending


class Parent:
    """Record a sweep in its parent run in MLflow.

    joins: whether another process records that run, so that only its key is used here.
    """

    def __init__(
        self,
        request: Request,
        config: RunConfig,
        folder: Path,
        study: SweepStudy,
        joins: bool,
    ) -> None:
        settings = config.settings
        self.request = request
        self.tracker: Tracker = _tracker(settings)
        try:
            self.folder = RunFolder.read(folder)
        except (OSError, ValueError, KeyError, TypeError):
            self.folder = RunFolder(
                folder, Path(settings["outputs"]), kind="sweep", uri=self.tracker.uri
            )
        # From the study, because a process that joins may not have the folder.
        self.key = str(study.remember("parent", self.folder.key))
        self.joins = joins
        if self.joins:
            return
        self.folder.open()
        if self.tracker.open(self.folder):
            self._describe(config)
        self.folder.name = self.tracker.run_name

    def _describe(self, config: RunConfig) -> None:
        identity = self.request.identity()
        steering = {
            f"sweep.{key}": value
            for key, value in self.request.settings.items()
            if key not in ("space", "join", "dry_run", "storage")
        }
        tags = describe.tags(ROOT, Path(config.command[0]).resolve(), config.command[1:])
        self.tracker.describe(
            experiment=config.settings["experiment_name"],
            name=self.request.name,
            params={
                "sweep": self.request.option,
                "objective": self.request.figure,
                **dict(word.split("=", 1) for word in self.request.winner),
                **steering,
                **{_as_key(f"space.{key}"): text for key, text in identity["space"].items()},
            },
            tags=tags
            | {
                SWEEP_NAME: self.request.name,
                SWEEP_KIND: "sweep",
                "folder": str(self.folder.path),
            },
        )
        dimensions = [dimension.written() for dimension in self.request.space.dimensions]
        self.tracker.save_text(
            json.dumps(
                {**identity, "objective": self.request.figure, "dimensions": dimensions}, indent=1
            ),
            "sweep/request.json",
        )
        varying = list(dict.fromkeys(dimension.key for dimension in self.request.space.dimensions))
        ascending = self.request.figure_direction == "min"
        self.tracker.add_view(
            view.tags_of_sweep(self.request.name, self.request.figure, ascending, varying)
        )

    def close(self, study: SweepStudy, status: Status) -> None:
        """Add the trials to the run, and end it.

        The runs of trials whose process was killed get their status as well.
        """
        if not self.joins:
            self._end(study, status)
        # Killed trials could not log their end. An unreachable server is not waited for.
        if self.tracker.uri:
            sender = threading.Thread(
                target=upload_pending,
                args=(self.folder.outputs, self.tracker.address),
                daemon=True,
            )
            sender.start()
            sender.join(self.tracker.patience_s)
            if self.request.settings["executor"] != "local" and not sender.is_alive():
                with contextlib.suppress(StudyUnavailable):
                    finished = [trial.number for trial in study.trials if trial.state.is_finished()]
                    end_lost_trials(self.tracker.address, self.request.name, finished)

    def _end(self, study: SweepStudy, status: Status) -> None:
        with contextlib.suppress(StudyUnavailable):
            self._add_trials(study)
        self.tracker.close(status)
        self.folder.close(status)

    def _add_trials(self, study: SweepStudy) -> None:
        self.tracker.save_text(_csv(study), "sweep/trials.csv")
        copy = self.folder.path / "artifacts" / "study.db"
        with contextlib.suppress(Exception):  # such as a full disk: only a copy is lost
            copy.parent.mkdir(exist_ok=True)
            copy.unlink(missing_ok=True)
            optuna.copy_study(
                from_study_name=study.study.study_name,
                from_storage=study.storage,
                to_storage=f"sqlite:///{copy}",
            )
            self.tracker.save_file(copy, "sweep", move=True)
        counts = study.counts()
        self.tracker.set_tags(
            {
                f"sweep.{state.name.lower()}": str(counts[state])
                for state in TrialState
                if counts[state]
            }
        )


def _as_key(name: str) -> str:
    """Return a name with only those characters that MLflow allows in a key.

    Names such as `space.optimizer.lr (optimizer=adam)` have others as well.
    """
    return name.replace("(", "").replace(")", "").replace("=", ":")


def _tracker(settings: dict[str, Any]) -> Tracker:
    tracking = settings["tracking"] | {"also": {}}  # a sweep's parent run has no metrics
    if "system_metrics" in tracking:
        tracking["system_metrics"] = False
    return make_tracker(tracking)


def _csv(study: SweepStudy) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(table(study))
    return text.getvalue()


def mark(folder: Path, tags: dict[str, str]) -> None:
    """Add tags to a run whose process has ended, before the run's end is logged."""
    path = folder / JOURNAL
    if any(True for _ in journal.read(path)):
        written = Journal(path)
        written.append({"kind": "tags", "tags": tags})
        written.close()
