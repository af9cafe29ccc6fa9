"""Keep a sweep's Optuna study.

It is the only record of the trials, their settings and their results.
"""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, QMCSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from tunebook.config import targets
from tunebook.config.roles import SEED
from tunebook.config.validation import InputError, SettingError
from tunebook.sweeps.outside import sqlite_file
from tunebook.sweeps.plan import FinishedTrial, PlanEnded, settings_key
from tunebook.sweeps.request import Request, differences
from tunebook.sweeps.result import TrialResult
from tunebook.sweeps.space import MAX_TRIALS, Space
from tunebook.sweeps.storage import PatientStorage, StudyUnavailable, open_storage

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.ERROR)

# Names of a trial's attributes in the study, and one value of HOW.
RETRY_OF, BEGUN, ERROR, HOW, SECONDS, NOT_BEGUN, LOSSES = (
    "retry_of",
    "begun",
    "error",
    "how",
    "seconds",
    "not begun",
    "losses",
)
EPOCHS = "epochs"  # trained; recorded even if no epoch's figures may be compared


def check(request: Request) -> None:
    """Raise an error if the sampler, the pruner or the storage can't be used.

    It is a SettingError or an InputError.
    """
    make(request.settings["sampler"], "sweep.sampler")
    make(request.settings["pruner"], "sweep.pruner")
    address = request.settings["storage"]
    file = None if address is None else sqlite_file(address)
    if address is not None and (file is None or file.exists()):  # opening it would create the file
        open_storage(address).remove_session()


def make(settings: Mapping[str, Any] | None, kind: str, **given: Any) -> Any:
    """Create a sampler or a pruner from its settings; return None if there are none."""
    if settings is None:
        return None
    for key, value in settings.items() if isinstance(settings, Mapping) else ():
        if isinstance(value, int | float) and value > MAX_TRIALS:
            raise SettingError(
                f"{kind}.{key}",
                value,
                f"must be at most {MAX_TRIALS}, as many as a sweep may have trials",
            )
    with warnings.catch_warnings():
        # TPE is known to perform better with some experimental options.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return targets.make(settings, kind, **given)


@dataclass(frozen=True)
class Next:
    """Hold the trial to run next.

    is_new: False if an earlier process has started it.
    """

    number: int
    trial_id: int
    overrides: list[str]
    is_new: bool


class SweepStudy:
    """Hold the study of one sweep.

    Several processes may request trials at the same time; each trial is given to one of them.
    """

    def __init__(self, request: Request, storage: optuna.storages.BaseStorage) -> None:
        self.request, self.space, self.storage = request, request.space, storage
        self.study = optuna.create_study(
            storage=storage,
            study_name=request.name,
            direction=request.direction,
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner(),
        )
        if isinstance(storage, PatientStorage):
            storage.belongs_to(self.study)
        # Trials that an earlier process started and did not finish.
        self.interrupted: list[FrozenTrial] = []
        self.workers = 1  # trials that run at once, for a plan

    def begin(self) -> None:
        """Make sure that the study belongs to this sweep, and that it holds every point of a grid.

        Raise InputError if it belongs to another sweep.
        """
        identity, known = self.request.identity(), self.study.user_attrs.get("identity")
        if known is not None and (changed := differences(known, identity)):
            more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
            message = (
                f"is another sweep ({'; '.join(changed[:4])}{more}); choose another sweep.name"
            )
            raise InputError(f"sweep.name={self.request.name}: {message}")
        self.study.set_user_attr("identity", identity)
        self.interrupted = [trial for trial in self.trials if trial.state == TrialState.RUNNING]
        if self.request.is_grid:
            tried = {settings_key(_params(trial)) for trial in self.trials}
            for point in self.request.space.points():
                if settings_key(point) not in tried:
                    self.study.enqueue_trial(point)

    def remember(self, key: str, value: Any) -> Any:
        """Return the value that `key` has for the whole sweep.

        It is the value that was given first.
        """
        if key not in self.study.user_attrs:
            self.study.set_user_attr(key, value)
            return value
        return self.study.user_attrs[key]

    @property
    def trials(self) -> list[FrozenTrial]:
        """Return all trials except those that were never started, which are not worth showing."""
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.user_attrs.get(HOW) != NOT_BEGUN
        ]

    def last_of_each(self) -> list[FrozenTrial]:
        """Return the trials, without those that were run again under another number."""
        again = {
            trial.user_attrs[RETRY_OF] for trial in self.trials if RETRY_OF in trial.user_attrs
        }
        return [trial for trial in self.trials if trial.number not in again]

    def counts(self) -> dict[TrialState, int]:
        """Return how many trials are in each state."""
        states = [trial.state for trial in self.last_of_each()]
        return {state: states.count(state) for state in TrialState}

    def retry_failed(self) -> int:
        """Enqueue the failed trials again, and return their number."""
        failed = [trial for trial in self.last_of_each() if trial.state == TrialState.FAIL]
        for trial in failed:
            self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
        return len(failed)

    def next(self) -> Next | None:
        """Return the next trial, or None if there is none left, or none until others have ended.

        It is an interrupted trial, an enqueued trial, or a new draw.
        """
        while self.interrupted:
            trial = self.interrupted.pop(0)
            if _is_whole(trial, self.space):
                return Next(
                    trial.number, trial._trial_id, self.space.overrides(trial.params), is_new=False
                )
            # The process was killed after it requested the trial and before it drew all values.
            self.record(trial.number, TrialResult("FAIL", how=NOT_BEGUN))
        counts = self.counts()
        if counts[TrialState.WAITING] == 0 and not self._has_more(counts):
            return None
        self.study.sampler = self._sampler()
        asked = self.study.ask()
        self.space.suggest(asked)
        return Next(asked.number, asked._trial_id, self.space.overrides(asked.params), is_new=True)

    def _has_more(self, counts: Mapping[TrialState, int]) -> bool:
        """Return whether there may be a new trial; enqueue the next batch of a plan.

        counts: how many trials are in each state; none is waiting.
        """
        if self.request.plan is not None:
            return counts[TrialState.RUNNING] == 0 and self._enqueue_batch()
        return not self.request.is_grid and sum(counts.values()) < self.request.trials

    def _enqueue_batch(self) -> bool:
        """Enqueue the plan's next trials, and return whether there are any."""
        assert self.request.plan is not None
        finished = self.finished()
        batch = self.request.plan.next_batch(finished, self.workers)
        if isinstance(batch, PlanEnded):
            return False
        ended = {(settings_key(one.settings), one.seed) for one in finished}
        new = [one for one in batch if (settings_key(one.settings), one.seed) not in ended]
        for one in new:
            self.study.enqueue_trial({**one.settings, SEED: one.seed})
        return bool(new)

    def finished(self) -> list[FinishedTrial]:
        """Return the trials that have ended, as a plan sees them."""
        return [
            FinishedTrial(
                {name: value for name, value in trial.params.items() if name != SEED},
                int(trial.params[SEED]),
                trial.value if trial.state == TrialState.COMPLETE else None,
                str(trial.user_attrs.get(HOW, trial.state.name.lower())),
                str(trial.user_attrs.get(ERROR, "")),
                float(trial.user_attrs.get(SECONDS) or 0.0),
            )
            for trial in self.last_of_each()
            if trial.state.is_finished()
        ]

    def _sampler(self) -> BaseSampler:
        """Return a new sampler for the next trial, whose seed depends on the number of trials.

        A sampler with the same seed would draw the same values again after a restart. A
        quasi-random sampler keeps its position in the study, and needs the same seed each time.
        """
        settings, seed = self.request.settings, int(self.request.settings["seed"])
        if settings["sampler"] is None:
            return optuna.samplers.RandomSampler(seed=seed)
        if str(settings["sampler"]["_target_"]).endswith(QMCSampler.__name__):
            sampler: BaseSampler = make(
                settings["sampler"], "sweep.sampler", seed=seed, warn_independent_sampling=False
            )
            return sampler
        seeded: BaseSampler = make(
            settings["sampler"],
            "sweep.sampler",
            seed=(seed + len(self.study.get_trials(deepcopy=False))) % 2**32,
        )
        return seeded

    def get(self, number: int) -> FrozenTrial:
        """Return the trial with this number, as it is now."""
        return self.study.get_trials(deepcopy=False)[number]

    def requeue(self, number: int, most: int) -> bool:
        """Let a trial resume after its machine was lost, and return whether this is allowed.

        It is not allowed if this has happened `most` times.
        """
        trial = self.get(number)
        losses = int(trial.user_attrs.get(LOSSES, 0)) + 1
        self.storage.set_trial_user_attr(trial._trial_id, LOSSES, losses)
        if losses < most:
            self.put_back(number)
        return losses < most

    def put_back(self, number: int) -> None:
        """Let a trial resume later, or start later if it could not be started."""
        self.interrupted.append(self.get(number))

    def pass_over(self, number: int) -> None:
        """Leave a trial's number unused, and enqueue its point again if it belongs to a grid."""
        self.record(number, TrialResult("FAIL", how=NOT_BEGUN))
        if self.request.is_grid:
            self.study.enqueue_trial(self.get(number).params)

    def record(self, number: int, result: TrialResult) -> None:
        """Record the result of a trial, unless it has one."""
        trial = self.get(number)
        if trial.state.is_finished():
            return
        for epoch, value in result.curve.items():
            if epoch not in trial.intermediate_values:
                self.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        attributes = {
            HOW: result.how or None, ERROR: result.error or None, SECONDS: result.seconds,
            EPOCHS: result.epochs, **result.figures,
        }  # fmt: skip
        for name, attribute in attributes.items():
            if attribute is not None:
                self.storage.set_trial_user_attr(trial._trial_id, name, attribute)
        values = None if result.value is None else [result.value]
        # Not Study.tell, which would take the last epoch's objective as a pruned trial's value.
        self.storage.set_trial_state_values(trial._trial_id, result.trial_state, values)

    @property
    def best(self) -> FrozenTrial | None:
        """Return the best complete trial, or None if there is none.

        For `sweep=auto`, it is a trial of one of the finalists.
        """
        done = [
            trial
            for trial in self.trials
            if trial.state == TrialState.COMPLETE and trial.value is not None
        ]
        if self.request.is_auto:
            from tunebook.sweeps.seeds import finalists_of  # imports statistics

            done = finalists_of(done)
        sign = 1 if self.request.direction == "maximize" else -1
        return max(done, key=lambda trial: sign * (trial.value or 0.0), default=None)


def _params(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's values, even if it is still waiting to be run."""
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def _is_whole(trial: FrozenTrial, space: Space) -> bool:
    """Return whether a value has been drawn for every setting that applies."""
    chosen: dict[str, Any] = dict(space.given)
    for dimension in space.dimensions:
        if dimension.applies(chosen):
            if dimension.name not in trial.params:
                return False
            chosen[dimension.key] = trial.params[dimension.name]
    return True


class TrialHandle:
    """Give the worker that runs a trial access to it in the study.

    Training does not wait for the study: an epoch that can't be reported is reported with the next
    one.
    """

    def __init__(
        self, storage: PatientStorage, name: str, trial_id: int, pruner: Mapping[str, Any] | None
    ) -> None:
        made = make(pruner, "sweep.pruner") or optuna.pruners.NopPruner()
        try:
            self._study = optuna.load_study(study_name=name, storage=storage, pruner=made)
            storage.belongs_to(self._study)
            self._trial = Trial(self._study, trial_id)
        except KeyError as error:
            reason = f"the study's database can't be used (it does not hold {error})"
            raise StudyUnavailable(reason) from None
        self._storage, self._id = storage, trial_id
        self.unreported: dict[int, float] = {}
        self.number = self._trial.number

    def report(self, epoch: int, value: float) -> bool:
        """Report an epoch's objective, and return whether to prune the trial."""
        is_known = bool(self.unreported)
        self.unreported[epoch] = value
        try:
            with self._storage.waiting(0.0):
                self._report_epochs()
                return self._trial.should_prune()
        except StudyUnavailable as error:
            if not is_known:
                log.warning("%s: training continues, and this epoch is reported later", error)
            return False

    def _report_epochs(self) -> None:
        trial = self._storage.get_trial(self._id)
        for epoch, value in list(self.unreported.items()):
            if epoch not in trial.intermediate_values:  # after a kill, it may have been reported
                self._trial.report(value, epoch)
            del self.unreported[epoch]

    def note(self, **attributes: Any) -> None:
        """Record more attributes of the trial."""
        for key, value in attributes.items():
            self._trial.set_user_attr(key, value)
