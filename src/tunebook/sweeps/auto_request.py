"""Turn the settings of `sweep=auto` into its plan, and read the sweep that it continues."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from tunebook.config.overrides import check_outside_words
from tunebook.config.roles import FOLD, SEED, repeats
from tunebook.config.validation import InputError, SettingError, validate_value
from tunebook.metrics.facts import Direction
from tunebook.sweeps.auto import AutoPlan, Budget, Goal
from tunebook.sweeps.final import study_of
from tunebook.sweeps.outside import check_storage
from tunebook.sweeps.plan import FinishedTrial
from tunebook.sweeps.request import MinGain
from tunebook.sweeps.space import Dimension, Space, as_text, make_space

MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class EarlierSweep:
    """Hold the sweep that `sweep=auto` continues.

    shared: the overrides that all of its trials had. space: what varied, as `sweep.space` is
    written. trials: those that have ended, except pruned ones.
    """

    shared: tuple[str, ...]
    space: dict[str, Any]
    trials: tuple[FinishedTrial, ...]


def earlier_sweep(base: DictConfig, varying: Sequence[object]) -> EarlierSweep | None:
    """Return the sweep that `sweep.of` names, or None if it is null.

    Raise SettingError or InputError if there is no such sweep, or if it can't be continued.
    """
    if base.sweep.of is None:
        return None
    name = str(base.sweep.of)
    if varying:
        message = f"continues the sweep {name}, which says what varies; nothing else can vary"
        raise SettingError("sweep", "auto", message)
    check_storage(base.sweep.storage)
    study = study_of(name, base.sweep.storage, Path(str(base.outputs)))
    try:
        identity = study.user_attrs["identity"]
        asked, words = identity["sweep"], list(identity["settings"])
        described = {str(key): str(text) for key, text in identity["space"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"sweep.of={name}: its record can't be read ({error!r})") from None
    if "plan" in asked or "of" in asked:
        raise SettingError("sweep.of", name, "is not a grid or a search that could go on")
    if any(key == FOLD for key in described):
        raise SettingError("sweep.of", name, "is a cross-validation; a search compares one fold")
    if "precision" in study.user_attrs:  # what "auto" was resolved to there
        words.append(f"trainer.precision={study.user_attrs['precision']}")
    trials = [
        FinishedTrial(
            {key: value for key, value in trial.params.items() if not repeats(key)},
            int(trial.params.get(SEED, base.seed)),
            trial.value if trial.state.name == "COMPLETE" else None,
            "complete" if trial.state.name == "COMPLETE" else "failed",
        )
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and trial.state.name != "PRUNED" and trial.params
    ]
    space, where = _written(described), f"sweep.of={name}"
    shared = check_outside_words([word for word in words if not repeats(word)], where)
    for one in make_space([], space, {}, {}).dimensions:  # a study may be from somebody else
        values = one.values or (one.low, one.high)
        check_outside_words([f"{one.key}={as_text(value)}" for value in values], where)
    return EarlierSweep(tuple(shared), space, tuple(trials))


def _written(described: dict[str, str]) -> dict[str, Any]:
    """Return a space as it is written in `sweep.space`, from the names of its parameters."""
    space: dict[str, Any] = {}
    for name, text in described.items():
        key, _, condition = name.partition(" (")
        if repeats(key):
            continue
        under = space.setdefault(condition.removesuffix(")"), {}) if condition else space
        under[key] = text
    return space


def auto_plan(
    base: DictConfig, space: Space, objective: str, mode: Direction, earlier: EarlierSweep | None
) -> tuple[Space, AutoPlan]:
    """Return the space with the seed, and the plan.

    Raise SettingError if a setting of the plan is wrong, or if the seed or the fold varies.
    """
    budget = Budget.of(base.sweep.budget)
    gain = float(validate_value("sweep.min_gain", base.sweep.min_gain, MinGain))
    for one in space.dimensions:
        if repeats(one.key):
            message = "is chosen by sweep=auto; it must have one value, that of the first runs"
            raise SettingError(one.key, one.text, message)
    first = int(base.seed)
    numbers = Dimension(SEED, f"int(interval({first}, {MAX_SEED}))", None, first, MAX_SEED)
    direction: Literal["max", "min"] = mode
    goal = Goal(objective, direction, gain, first, int(base.sweep.seed))
    before = earlier.trials if earlier else ()
    whole = replace(space, dimensions=(*space.dimensions, numbers))
    return whole, AutoPlan(space, budget, goal, before)
