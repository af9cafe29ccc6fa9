"""Show the progress and the results of a sweep.

A terminal shows a live table; other outputs get one line per trial. In the end, all trials are
listed.
"""

import logging
import re
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunebook.analysis.sentences import DEFAULTS
from tunebook.metrics.facts import facts_of, title_of
from tunebook.program import call
from tunebook.sweeps.executors.base import Worker
from tunebook.sweeps.request import Request
from tunebook.sweeps.seeds import CLASSES, OverSeeds, classes_of, has_seeds, is_one_configuration
from tunebook.sweeps.space import as_text, in_short
from tunebook.sweeps.study import EPOCHS, ERROR, HOW, SECONDS, SweepStudy
from tunebook.sweeps.worker import TrialSpec
from tunebook.text_output import counted

log = logging.getLogger(__name__)

MAX_ROWS = 200  # in the final table
PLAIN_WIDTH = 160  # characters per line without a terminal
# Settings that later commands about this sweep need as well.
PLACES = ("data.root=", "data.table=", "tracking.uri=", "outputs=", "sweep.storage=",
          "experiment_name=")  # fmt: skip
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting"}


def state_of(trial: FrozenTrial) -> str:
    """Return the state of a trial as text."""
    return STATES.get(trial.state.name) or str(trial.user_attrs.get(HOW, "failed"))


def epochs_of(trial: FrozenTrial) -> int:
    """Return how many epochs a trial was trained.

    The trial records the number at its end; until then, the epochs that it reported count.
    """
    return int(trial.user_attrs.get(EPOCHS, max(trial.intermediate_values, default=0)))


def written(metric: str, value: float | None) -> str:
    """Return a metric's value as text, in percent where that suits the metric."""
    if value is None:
        return ""
    return f"{100 * value:.2f} %" if facts_of(metric).in_percent else f"{value:.4f}"


def value_of(trial: FrozenTrial, request: Request) -> float | None:
    """Return the metric by which a trial is reported, or None if it has none.

    Trials of a final sweep are reported by a test metric, because they were trained on the
    validation images as well.
    """
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return None
    if request.is_final:
        found = trial.user_attrs.get(request.tested)
        return None if found is None else float(found)
    return trial.value


def table(study: SweepStudy) -> list[list[str]]:
    """Return a row for each trial, preceded by the names of the columns.

    The columns are number, state, figure, epochs trained, seconds, values and error.
    """
    names = [dimension.name for dimension in study.space.dimensions]
    rows = [["trial", "state", study.request.figure, "epochs", "seconds", *names, "error"]]
    for trial in study.trials:
        value = value_of(trial, study.request)
        seconds = trial.user_attrs.get(SECONDS)
        rows.append(
            [
                str(trial.number), state_of(trial), "" if value is None else f"{value:.7g}",
                str(epochs_of(trial) or ""), "" if seconds is None else f"{seconds:.1f}",
                *(as_text(trial.params[name]) if name in trial.params else "" for name in names),
                str(trial.user_attrs.get(ERROR, "")),
            ]
        )  # fmt: skip
    return rows


def duration(seconds: float) -> str:
    """Return a duration as text, in at most two units."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min"
        if hours
        else f"{minutes} min {seconds:02d} s"
        if minutes
        else f"{seconds} s"
    )


def _shell_quoted(word: str) -> str:
    """Return an argument quoted for a shell, in double quotes if that is easier to read."""
    return (
        f'"{word}"' if re.fullmatch(r"[\w.=' +,:/-]*", word) and "'" in word else shlex.quote(word)
    )


class Display:
    """Show a sweep while it is running, and how it ended.

    tracks: whether the sweep is logged to MLflow.
    """

    def __init__(self, study: SweepStudy, workers: int, threads: int, tracks: bool) -> None:
        self.study, self.workers, self.tracks = study, workers, tracks
        self.places = [word for word in study.request.fixed if word.startswith(PLACES)]
        self.begun = time.monotonic()
        self.ended_here, self.busy_s = 0, 0.0
        console = Console(file=sys.stdout)
        self.live = (
            Live(console=console, refresh_per_second=2, transient=True)
            if console.is_terminal
            else None
        )
        self.classes = (
            study.remember(CLASSES, classes_of(study.request)) if has_seeds(study.request) else None
        )
        trials, at_work = study.request.trials_text, counted(workers, "worker")
        log.info(
            "sweep %s: %s, %s, %s per worker",
            study.request.name,
            trials,
            at_work,
            counted(threads, "thread"),
        )
        if done := sum(count for state, count in study.counts().items() if state.is_finished()):
            log.info("resuming: %s already done", counted(done, "trial"))

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def began(self, spec: TrialSpec) -> None:
        """Show that a worker has started a trial."""
        if self.live is None:
            log.info("trial %s started", spec.name)

    def ended(self, worker: Worker, trial: FrozenTrial) -> None:
        """Show that a trial ended, or was interrupted."""
        self.ended_here += trial.state.is_finished()
        self.busy_s += worker.seconds
        self.worked_s = time.monotonic() - self.begun
        if self.live is None:
            request = self.study.request
            found = value_of(trial, request)
            value = "" if found is None else f"  {request.figure} {written(request.figure, found)}"
            error = f"  {trial.user_attrs[ERROR]}" if ERROR in trial.user_attrs else ""
            how = "interrupted" if trial.state == TrialState.RUNNING else state_of(trial)
            log.info(
                "trial %s  %s%s  %s%s",
                worker.spec.name,
                how,
                value,
                duration(worker.seconds),
                error,
            )

    def update(self, workers: list[Worker]) -> None:
        """Redraw the live table."""
        if self.live is not None:
            self.live.update(self._drawn(workers))

    def _drawn(self, workers: list[Worker]) -> Group:
        counts = Counter(state_of(trial) for trial in self.study.last_of_each())
        failed = sum(count for state, count in counts.items() if state not in STATES.values())
        lines = [
            f"{self.study.request.name}",
            f"{counts['complete']} complete   {counts['pruned']} pruned   {failed} failed   "
            f"{counts['running']} running   of {self.study.request.trials}   {self._left()}",
        ]
        if not self.study.request.is_final:  # its seeds do not compete
            lines.append(self._best_so_far())
        shown = Table(box=None, pad_edge=False)
        shown.add_column(
            "trial",
            no_wrap=True,
            overflow="ellipsis",
            max_width=max(30, (self.live.console.width if self.live else 80) - 40),
        )
        is_final, objective = self.study.request.is_final, self.study.request.objective
        for name in ("epoch", *(() if is_final else (objective,)), "time"):
            shown.add_column(name, no_wrap=True, justify="right", min_width=len(name))
        by_number = {trial.number: trial for trial in self.study.trials}
        for worker in workers:
            reported = by_number[worker.spec.number].intermediate_values
            epoch = max(reported, default=0)
            figures = () if is_final else (written(objective, reported.get(epoch)),)
            shown.add_row(worker.spec.name, str(epoch), *figures, duration(worker.seconds))
        return Group(*(Text(line, overflow="ellipsis", no_wrap=True) for line in lines), shown)

    def _best_so_far(self) -> str:
        over = self._over_seeds()
        if over is not None:
            word = "so far     " if is_one_configuration(self.study.request) else "best so far"
            return (
                f"{word}   {over.measured(over.board[0])}   {in_short(over.words(over.board[0]))}"
            )
        best = self.study.best
        best_text = (
            "none yet"
            if best is None
            else f"{written(self.study.request.objective, best.value)}   {self._words(best)}"
        )
        return f"best so far   {best_text}"

    def _left(self) -> str:
        left = self.study.request.trials - sum(
            count for state, count in self.study.counts().items() if state.is_finished()
        )
        if not self.ended_here:
            return ""
        return f"about {duration(left * (time.monotonic() - self.begun) / self.ended_here)} left"

    def _words(self, trial: FrozenTrial) -> str:
        return in_short([*self.study.request.winner, *self.study.space.overrides(trial.params)])

    def say_how_it_ended(self, folder: Path) -> None:
        """Show all trials, the errors of failed trials, and where everything is stored."""
        rows = table(self.study)[1:]
        if not is_one_configuration(self.study.request):  # its seeds stay in trial order
            rows.sort(key=lambda row: self._rank(row[2]))
        self._say_trials(rows)
        self._say_over_seeds()
        for row in rows:
            if row[-1]:
                log.info(
                    "trial %s %s: %s   (log: %s)",
                    row[0],
                    row[1],
                    row[-1],
                    folder / f"{int(row[0]):04d}" / "train.log",
                )
        self._say_result()
        if self.ended_here:
            log.info("time           %s", self._what_it_took())
        log.info("in             %s", folder)
        self._say_what_next()

    def _say_trials(self, rows: list[list[str]]) -> None:
        """Show the table of all trials, in the order of these rows."""
        request = self.study.request
        shown = Table(box=None, pad_edge=False)
        metrics = list(dict.fromkeys([request.figure, request.tested]))
        for name in ("trial", "state", *metrics, "epochs", "time", "settings"):
            shown.add_column(
                name, justify="left" if name in ("state", "settings") else "right", overflow="fold"
            )
        by_number = {str(trial.number): trial for trial in self.study.trials}
        for number, state, _, epoch, seconds, *_ in rows[:MAX_ROWS]:
            trial = by_number[number]
            values = {
                request.tested: trial.user_attrs.get(request.tested),
                request.figure: value_of(trial, request),
            }
            took = duration(float(seconds)) if seconds else ""
            shown.add_row(
                number,
                state,
                *(written(metric, values[metric]) for metric in metrics),
                epoch,
                took,
                self._words(trial),
            )
        if rows:
            Console(file=sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(
                shown, highlight=False, markup=False
            )
        if len(rows) > MAX_ROWS:
            log.info("... and %d more", len(rows) - MAX_ROWS)

    def _say_result(self) -> None:
        """Log the best configuration, or the best trial if each configuration has one seed.

        For a single configuration, log the median over its seeds.
        """
        request, over = self.study.request, self._over_seeds()
        if over is not None and is_one_configuration(request):
            (only, *_) = over.board
            label = title_of(request.figure) if request.is_final else request.objective
            log.info("\n%-14s %s", label, over.measured(only))
            if not request.is_final:
                log.info("configuration  the only one: %s", " ".join(over.words(only)) or DEFAULTS)
        elif over is not None:
            log.info(
                "\nbest           %s %s   %s",
                request.objective,
                over.measured(over.board[0]),
                " ".join(over.words(over.board[0])),
            )
        elif not request.is_final and (best := self.study.best) is not None:
            words = " ".join(self.study.space.overrides(best.params))
            figure = written(request.objective, best.value)
            log.info(
                "\nbest           trial %d, %s %s   %s",
                best.number,
                request.objective,
                figure,
                words,
            )
        if request.is_final:
            log.info(
                "winner         %s   of %s, also trained on the validation images",
                " ".join(request.winner),
                request.settings["of"],
            )

    def _say_what_next(self) -> None:
        """Log the commands to run next, with the locations that this command was given."""
        request = self.study.request
        places = [word for word in self.places if word.startswith(("tracking.uri=", "outputs="))]
        if self.tracks:
            words = [
                f"sweep={request.name}",
                *([f"metric={request.figure}"] if request.is_final else []),
                *places,
            ]
            log.info("findings       %s", shlex.join([*call("compare"), *words]))
        if self.study.best is not None and not request.is_grid and request.plan is None:
            words = ["-m", "sweep=final", f"sweep.of='{request.name}'", *self.places]
            log.info("next           %s", " ".join([*call("train"), *map(_shell_quoted, words)]))

    def _over_seeds(self) -> OverSeeds | None:
        """Return a summary of the trials that differ only in their seed.

        Return None if there are no such trials.
        """
        if not has_seeds(self.study.request):
            return None
        over = OverSeeds(self.study.trials, self.study.request, self.classes)
        return over if over.is_worth_showing else None

    def _say_over_seeds(self) -> None:
        """Show the median and 95 % interval of each configuration, and which runs did not learn."""
        over = self._over_seeds()
        if over is None:
            return
        found = over.table()
        shown = Table(box=None, pad_edge=False)
        for name in found[0]:
            shown.add_column(
                name, justify="left" if name == "settings" else "right", overflow="fold"
            )
        for row in found[1:MAX_ROWS]:
            shown.add_row(*row)
        log.info("\n%s", over.title())
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(
            shown, highlight=False, markup=False
        )
        if failures := over.failures():
            log.info("%s", failures)

    def _what_it_took(self) -> str:
        """Return the wall-clock time of this process, and the epochs of all trials, as text."""
        epochs = sum(epochs_of(trial) for trial in self.study.trials)
        idle = 1 - self.busy_s / (self.workers * self.worked_s)
        rate = 3600 * self.ended_here / self.worked_s
        spent = (
            f"{duration(self.worked_s)} from the start of the first trial, "
            f"{counted(round(rate), 'trial')} per hour"
        )
        return (
            f"{spent}, workers idle {max(0.0, idle):.0%}; "
            f"all trials together: {counted(epochs, 'epoch')}"
        )

    def _rank(self, value: str) -> float:
        request = self.study.request
        sign = -1 if request.figure_direction == "max" else 1
        return sign * float(value) if value else float("inf")
