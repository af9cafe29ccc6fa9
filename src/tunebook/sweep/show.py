"""What a user sees of a sweep: a live table in a terminal, a line a trial elsewhere, and in the end all of it."""

import logging
import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunebook.checks import InputError, SettingError
from tunebook.sweep.executor import Worker
from tunebook.sweep.request import Request
from tunebook.sweep.seeds import TESTED, over_seeds
from tunebook.sweep.space import as_text, in_short
from tunebook.sweep.study import ERROR, HOW, SECONDS, Study
from tunebook.sweep.worker import Order

log = logging.getLogger(__name__)

MOST_ROWS = 200  # of the last table
START_S = 2.0  # from its process's start until a trial's run is on record
PLAIN_WIDTH = 160  # characters of a line where there is no terminal
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting"}


def state_of(trial: FrozenTrial) -> str:
    """In a word."""
    return STATES.get(trial.state.name) or str(trial.user_attrs.get(HOW, "failed"))


def _epochs(trial: FrozenTrial) -> str:
    return str(max(trial.intermediate_values, default=""))


def table(study: Study) -> list[list[str]]:
    """Every trial, below the names of the columns: number, state, objective, epochs trained, seconds, values, error."""
    names = [dimension.name for dimension in study.space.dimensions]
    rows = [["trial", "state", study.request.objective, "epochs", "seconds", *names, "error"]]
    for trial in study.trials:
        value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        seconds = trial.user_attrs.get(SECONDS)
        rows.append(
            [
                str(trial.number), state_of(trial), "" if value is None else f"{value:.7g}", _epochs(trial),
                "" if seconds is None else f"{seconds:.1f}",
                *(as_text(trial.params[name]) if name in trial.params else "" for name in names), str(trial.user_attrs.get(ERROR, "")),
            ]
        )  # fmt: skip
    return rows


def duration(seconds: float) -> str:
    """In two units at most."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


class Display:
    """While a sweep is at work."""

    def __init__(self, study: Study, workers: int, threads: int) -> None:
        self.study, self.workers = study, workers
        self.begun = time.monotonic()
        self.ended_here, self.busy_s = 0, 0.0
        console = Console(file=sys.stdout)
        self.live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        plural = "s" if workers > 1 else ""
        log.info(
            "sweep %s: %d trials, %d worker%s, threads of each: %d", study.request.name, study.request.trials, workers, plural, threads
        )
        if done := sum(count for state, count in study.counts().items() if state.is_finished()):
            log.info("goes on: %d trials are done", done)

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def began(self, order: Order) -> None:
        """A trial has a worker."""
        if self.live is None:
            log.info("trial %s begins", order.name)

    def ended(self, worker: Worker, trial: FrozenTrial) -> None:
        """A trial is over, or interrupted."""
        self.ended_here += trial.state.is_finished()
        self.busy_s += worker.seconds
        self.worked_s = time.monotonic() - self.begun
        if self.live is None:
            value = "" if trial.value is None else f"  {self.study.request.objective} {trial.value:.4f}"
            error = f"  {trial.user_attrs[ERROR]}" if ERROR in trial.user_attrs else ""
            how = "interrupted" if trial.state == TrialState.RUNNING else state_of(trial)
            log.info("trial %s  %s%s  %s%s", worker.order.name, how, value, duration(worker.seconds), error)

    def update(self, workers: list[Worker]) -> None:
        """Draws the table anew."""
        if self.live is not None:
            self.live.update(self._drawn(workers))

    def _drawn(self, workers: list[Worker]) -> Group:
        counts = Counter(state_of(trial) for trial in self.study.last_of_each())
        failed = sum(count for state, count in counts.items() if state not in STATES.values())
        best = self.study.best
        lines = [
            f"{self.study.request.name}",
            f"{counts['complete']} complete   {counts['pruned']} pruned   {failed} failed   {counts['running']} running   "
            f"of {self.study.request.trials}   {self._left()}",
            f"best so far   {best.value:.4f}   {self._words(best)}" if best is not None else "best so far   none yet",
        ]
        shown = Table(box=None, pad_edge=False)
        shown.add_column("trial", no_wrap=True, overflow="ellipsis", max_width=max(30, (self.live.console.width if self.live else 80) - 40))
        for name in ("epoch", self.study.request.objective, "time"):
            shown.add_column(name, no_wrap=True, justify="right", min_width=len(name))
        there = {trial.number: trial for trial in self.study.trials}
        for worker in workers:
            reported = there[worker.order.number].intermediate_values
            epoch = max(reported, default=0)
            shown.add_row(worker.order.name, str(epoch), f"{reported[epoch]:.4f}" if reported else "", duration(worker.seconds))
        return Group(*(Text(line, overflow="ellipsis", no_wrap=True) for line in lines), shown)

    def _left(self) -> str:
        left = self.study.request.trials - sum(count for state, count in self.study.counts().items() if state.is_finished())
        if not self.ended_here:
            return ""
        return f"about {duration(left * (time.monotonic() - self.begun) / self.ended_here)} left"

    def _words(self, trial: FrozenTrial) -> str:
        return in_short(self.study.space.overrides(trial.params))

    def say_how_it_ended(self, folder: Path) -> None:
        """The table of all trials, those that failed with their error, and where everything is."""
        rows = sorted(table(self.study)[1:], key=lambda row: self._rank(row[2]))
        shown = Table(box=None, pad_edge=False)
        for name in ("trial", "state", self.study.request.objective, TESTED, "epochs", "time", "settings"):
            shown.add_column(name, justify="left" if name in ("state", "settings") else "right", overflow="fold")
        there = {str(trial.number): trial for trial in self.study.trials}
        for number, state, value, epoch, seconds, *_ in rows[:MOST_ROWS]:
            words = self._words(there[number])
            took = duration(float(seconds)) if seconds else ""
            tested_at = there[number].user_attrs.get(TESTED)
            figures = ("" if figure in (None, "") else f"{float(figure):.4f}" for figure in (value, tested_at))
            shown.add_row(number, state, *figures, epoch, took, words)
        if rows:
            Console(file=sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(shown, highlight=False, markup=False)
        if len(rows) > MOST_ROWS:
            log.info("... and %d more", len(rows) - MOST_ROWS)
        self._say_over_seeds()
        for row in rows:
            if row[-1]:
                log.info("trial %s %s: %s   (log: %s)", row[0], row[1], row[-1], folder / f"{int(row[0]):04d}" / "train.log")
        tested = [trial.user_attrs[TESTED] for trial in self.study.trials if TESTED in trial.user_attrs]
        if self.study.request.parent and tested:
            spread = f", sd {100 * statistics.stdev(tested):.2f}" if len(tested) > 1 else ""  # their interval stands in the table
            log.info("\ntest accuracy  %.2f %%%s, n = %d seeds", 100 * statistics.fmean(tested), spread, len(tested))
        elif (best := self.study.best) is not None:
            words = " ".join(self.study.space.overrides(best.params))
            log.info("\nbest           trial %d, %s %.4f   %s", best.number, self.study.request.objective, best.value, words)
        if self.ended_here:
            log.info("time           %s", self._what_it_took())
        log.info("in             %s", folder)
        log.info("findings       python src/compare.py %s", shlex.quote(f"sweep={self.study.request.name}"))
        if self.study.best is not None and not self.study.request.is_grid:
            log.info("next           python src/train.py -m sweep=final \"sweep.of='%s'\"", self.study.request.name)

    def _say_over_seeds(self) -> None:
        """Mean and 95 % interval of what differs in its seed only."""
        request = self.study.request
        found = over_seeds(self.study.trials, self.study.space, request.objective, request.direction)
        if not found:
            return
        shown = Table(box=None, pad_edge=False, title="over seeds: median +- 95 % interval", title_justify="left", title_style="")
        for name in found[0]:
            shown.add_column(name, justify="left" if name == "settings" else "right", overflow="fold")
        for row in found[1:MOST_ROWS]:
            shown.add_row(*row)
        log.info("")
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(shown, highlight=False, markup=False)

    def _what_it_took(self) -> str:
        epochs = sum(max(trial.intermediate_values, default=0) for trial in self.study.trials)
        idle = 1 - self.busy_s / (self.workers * self.worked_s)
        rate = 3600 * self.ended_here / self.worked_s
        return f"{duration(self.worked_s)}, {rate:.0f} trials an hour, workers idle {max(0.0, idle):.0%}; {epochs} epochs in all"

    def _rank(self, value: str) -> float:
        sign = -1 if self.study.request.direction == "maximize" else 1
        return sign * float(value) if value else float("inf")


def say_what_would_run(request: Request, settings: dict[str, Any], choices: Mapping[str, str], workers: int) -> None:
    """The trials, and how long they would take going by the runs in the store."""
    study = Study(request, optuna.storages.InMemoryStorage())
    study.begin()
    while (trial := study.next()) is not None:
        log.info("%03d  %s", trial.number, " ".join(trial.overrides))
    if not request.is_grid and not isinstance(study.study.sampler, optuna.samplers.RandomSampler | optuna.samplers.QMCSampler):
        log.info("(what this search draws depends on results; these are its draws without any)")
    seconds = _seconds_of_earlier_runs(settings["tracking"].get("uri"), choices)
    if not seconds:
        log.info("%d trials; no earlier run of this data and network in the store tells how long they take", request.trials)
        return
    epochs = int(settings["trainer"]["max_epochs"])
    epoch_s, beside_s = (statistics.median(column) for column in zip(*seconds, strict=True))
    estimate = max(1.0, (epoch_s * epochs + beside_s) * request.trials / workers)
    basis = f"{len(seconds)} earlier runs of this data and network, {epoch_s:.1f} s an epoch and {beside_s:.1f} s beside"
    log.info("%d trials, epochs of each: %d, %d workers: about %s, going by %s", request.trials, epochs, workers, duration(estimate), basis)


def _seconds_of_earlier_runs(uri: str | None, choices: Mapping[str, str]) -> list[tuple[float, float]]:
    """(seconds an epoch, seconds beside its epochs) of each of the same data and network."""
    from tunebook.tracking.store import open_client, require_store

    if uri is None:
        return []
    try:
        require_store(uri)
    except (InputError, SettingError):
        return []
    client = open_client(uri)
    same = " and ".join(f"params.`{group}` = '{choices[group]}'" for group in ("data", "model"))
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, f"attributes.status = 'FINISHED' and {same}", max_results=200)
    timed = [run for run in found if {"time/epoch_s", "time/fit_s"} <= run.data.metrics.keys()]
    return [
        (
            run.data.metrics["time/epoch_s"],
            START_S + max(0.0, (run.info.end_time - run.info.start_time) / 1000 - run.data.metrics["time/fit_s"]),
        )
        for run in timed
    ]
