"""Show what a sweep would run and how long it would take, for `sweep.dry_run=true`."""

import logging
import statistics
from collections.abc import Mapping
from typing import Any

import optuna

from tunebook.config.validation import InputError, SettingError
from tunebook.sweeps.request import Request
from tunebook.sweeps.show import duration
from tunebook.sweeps.study import SweepStudy
from tunebook.text_output import counted

log = logging.getLogger(__name__)

START_S = 2.0  # from the start of a trial's process until its run begins in the store


def log_preview(
    request: Request, settings: dict[str, Any], choices: Mapping[str, str], workers: int
) -> None:
    """Log the trials, and an estimate of their duration from the runs in the store."""
    study = SweepStudy(request, optuna.storages.InMemoryStorage())
    study.begin()
    while (trial := study.next()) is not None:
        log.info("%03d  %s", trial.number, " ".join(trial.overrides))
    if not request.is_grid and not isinstance(
        study.study.sampler, optuna.samplers.RandomSampler | optuna.samplers.QMCSampler
    ):
        log.info(
            "(what this search proposes depends on results; these are its proposals without any)"
        )
    if request.plan is not None:
        log.info("(the first round; the trials of later rounds depend on its results)")
    seconds = _seconds_of_earlier_runs(settings["tracking"].get("uri"), choices)
    if not seconds:
        message = "%s; no estimate: the store has no finished run of this data and network"
        log.info(message, request.trials_text)
        return
    epochs = int(settings["trainer"]["max_epochs"])
    epoch_s, beside_s = (statistics.median(column) for column in zip(*seconds, strict=True))
    estimate = max(1.0, (epoch_s * epochs + beside_s) * request.trials / workers)
    basis = (
        f"{counted(len(seconds), 'earlier run')} of this data and network, "
        f"{epoch_s:.1f} s per epoch and {beside_s:.1f} s for the rest"
    )
    trials, at_work = request.trials_text, counted(workers, "worker")
    log.info(
        "%s of %s, %s: about %s, estimated from %s",
        trials,
        counted(epochs, "epoch"),
        at_work,
        duration(estimate),
        basis,
    )


def _seconds_of_earlier_runs(
    uri: str | None, choices: Mapping[str, str]
) -> list[tuple[float, float]]:
    """Return (seconds per epoch, other seconds) of each run with the same data and network."""
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
            START_S
            + max(
                0.0,
                (run.info.end_time - run.info.start_time) / 1000 - run.data.metrics["time/fit_s"],
            ),
        )
        for run in timed
    ]
