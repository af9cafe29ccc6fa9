"""Turn a command line into a sweep and the configs of its trials, with names checked."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from tunebook.config.compose import (
    compose_config,
    default_choices,
    keys,
    leaves,
    options,
    with_choices,
)
from tunebook.config.quotes import normalize_overrides
from tunebook.config.roles import FOLD, FOLDS, SHARED_IN_A_SWEEP, key_of, role_of
from tunebook.config.validation import InputError, SettingError, validate_value
from tunebook.data.splits import Folds
from tunebook.runs.data_place import own_images
from tunebook.sweeps.ablation_request import read_ablation
from tunebook.sweeps.auto_request import auto_plan, earlier_sweep
from tunebook.sweeps.final import Winner, seeds_of, winner_of
from tunebook.sweeps.request import (
    Plans,
    Request,
    make_request,
    objective_of,
    refuse_what_one_run_has,
)
from tunebook.sweeps.space import Space, make_space, split

log = logging.getLogger(__name__)

CONFIG = "config"
MANY = 50  # trials, whose checks take a second or more
MAX_CORNERS = 64  # points of a search that are checked
FOLDS_IN_SHORT = re.compile(r"^([+]*)folds=")


def fitting(
    request: Request,
    base: DictConfig,
    check: Callable[[DictConfig], None],
    composed: dict[tuple[str, ...], DictConfig] | None = None,
) -> Request:
    """Check the config of every trial, and return the request without unfit shipped values.

    A shipped value comes from a search space in conf/sweep/, so nobody typed it. It is removed, and
    this is logged. Raise InputError for any other trial that can't run, with its settings.
    base, composed: see `to_check`.
    """
    composed = {} if composed is None else composed
    while True:
        configs = to_check(request, base, composed)
        total = request.trials if request.is_grid else MAX_CORNERS
        shown = tqdm(
            configs,
            "checking",
            total,
            leave=False,
            disable=None if total > MANY and request.is_grid else True,
        )
        unfit = next(filter(None, (_refusal(check, cfg, words) for cfg, words in shown)), None)
        if unfit is None:
            return request
        error, words = unfit
        smaller = request.space.without_unfit(error.key, error.value)
        if smaller is None:
            raise InputError(
                f"{error} (in the trial {' '.join(words)}){_removable(request, error.key)}"
            )
        log.warning("removed from the search space of sweep=%s: %s", request.kind, error)
        plan = request.plan and request.plan.within(smaller)
        request = replace(request, space=smaller, plan=plan)


def _refusal(
    check: Callable[[DictConfig], None], cfg: DictConfig, words: list[str]
) -> tuple[SettingError, list[str]] | None:
    try:
        _refuse_time_limit(cfg)
        check(cfg)
    except SettingError as error:
        return error, words
    return None


def _refuse_time_limit(cfg: DictConfig) -> None:
    """Raise SettingError for a limit that ends a run to be resumed by hand, as no trial is."""
    if (limit := cfg.trainer.max_time) is not None:
        message = "is not for sweeps; sweep.trial_timeout limits the time of a trial"
        raise SettingError("trainer.max_time", limit, message)


def _removable(request: Request, key: str) -> str:
    """Return a hint on how to keep a setting fixed that a space in conf/sweep/ varies.

    It is "" for a setting that varies for another reason.
    """
    shipped = any(one.key == key and one.is_shipped for one in request.space.dimensions)
    return f"; sweep={request.kind} varies it; {key}=<a value> fixes it" if shipped else ""


def read(overrides: Sequence[str]) -> tuple[Request, DictConfig]:
    """Return the requested sweep, and the config that its trials start from."""
    words = normalize_overrides(CONFIG, overrides)
    fixed, varying = split([FOLDS_IN_SHORT.sub(rf"\1{FOLDS}=", word) for word in words])
    base = compose_config(CONFIG, fixed)
    plan = base.sweep.get("plan")
    validate_value("sweep.plan", plan, Plans | None)
    if plan == "ablation":
        return read_ablation(base, fixed, varying)
    winner = earlier = None
    if plan == "auto":
        varying += _folds(base, fixed, varying)
        if (earlier := earlier_sweep(base, varying)) is not None:
            fixed = [*earlier.shared, *fixed]
            base = compose_config(CONFIG, fixed)
    elif "of" in base.sweep:
        fixed, varying, winner = _with_winner(base, fixed, varying)
        base = compose_config(CONFIG, fixed)
    else:
        varying += _folds(base, fixed, varying)
    _refuse_what_cannot_vary(fixed, varying)
    refuse_what_one_run_has(base, fixed)
    choices = {key: str(value) for key, value in base.hydra.runtime.choices.items()}
    settings = OmegaConf.to_container(base.sweep, resolve=True)
    assert isinstance(settings, dict)
    written = settings["space"] if earlier is None else earlier.space
    space = _space(base, fixed, varying, choices, written)
    own = {str(key): value for key, value in settings.items()}
    kind = choices["sweep"]
    if own.get("of") is not None:
        kind = f"{'final of' if plan is None else 'auto after'} {own['of']}"
    objective, mode = objective_of(base)
    chosen_by = None
    if plan == "auto":
        space, chosen_by = auto_plan(base, space, objective, mode, earlier)
    varied = () if winner is None else winner.varied
    images = own_images(OmegaConf.to_container(base.data))
    request = make_request(kind, varied, own, space, fixed, objective, mode, images, chosen_by)
    return request, base


def _folds(base: DictConfig, fixed: Sequence[str], varying: Sequence[Override]) -> list[Override]:
    """Return the override that tries each fold of a cross-validation, if there is one.

    There is none if the command line chooses the folds.
    """
    given = {key_of(word) for word in fixed} | {one.get_key_element() for one in varying}
    folds = base.data.get("folds")
    if folds is None or FOLD in given:
        return []
    validate_value(FOLDS, folds, Folds)
    if base.sweep.sampler is not None or "plan" in base.sweep:
        allowed = f"a search compares trials on one fold: choose it with {FOLD}=0"
        raise SettingError(FOLDS, folds, allowed)
    return split([f"{FOLD}=range({folds})"])[1]


def _space(
    base: DictConfig,
    fixed: Sequence[str],
    varying: Sequence[Override],
    choices: Mapping[str, str],
    written: Any,
) -> Space:
    """Return what varies, without shipped settings that the chosen options don't have.

    choices: the chosen option of each config group. written: the setting `sweep.space`.
    """
    given = {override.partition("=")[0]: override.partition("=")[2] for override in fixed}
    if written is not None and not isinstance(written, dict):
        raise SettingError(
            "sweep.space",
            written,
            "must map settings to what they vary over, such as {seed: 'range(3)'}",
        )
    is_shipped = bool(written) and written == OmegaConf.to_container(
        with_choices(dict(base.hydra.runtime.choices), CONFIG).sweep.space
    )
    space = make_space(varying, written or {}, given, choices, is_shipped)
    missing: list[str] = []
    if is_shipped:
        space, missing = space.without_missing(_known_keys(base, space))
    if missing:
        log.warning(
            "removed from the search space of sweep=%s, as the chosen options don't have them: %s",
            choices["sweep"],
            ", ".join(missing),
        )
    return space


def _refuse_what_cannot_vary(fixed: Sequence[str], varying: Sequence[Override]) -> None:
    given = [word.partition("=")[0].lstrip("+") for word in fixed]
    for override in varying:
        key, text = (
            override.get_key_element().lstrip("+~"),
            (override.input_line or "").partition("=")[2],
        )
        if role_of(key) in SHARED_IN_A_SWEEP or key == FOLDS:
            raise SettingError(key, text, "applies to the whole sweep, and can't vary in it")
        if override.is_delete():
            raise SettingError(
                f"~{key}", text, "must be a single ~key: a setting is deleted for the whole sweep"
            )
        if key in given:
            raise SettingError(key, text, "is given twice")
        given.append(key)


def _known_keys(base: DictConfig, space: Space) -> set[str]:
    """Return the keys that every config of the sweep has, whichever options are chosen."""
    choices = {group: str(choice) for group, choice in base.hydra.runtime.choices.items() if choice}
    varied = {
        one.key: one.values
        for one in space.dimensions
        if one.when is None and one.key in default_choices(CONFIG) and one.values
    }
    found = set(keys(base)) | set(default_choices(CONFIG))
    for group, values in varied.items():
        for option in values:
            if str(option) in options(group):
                own = {
                    key
                    for key in keys(with_choices({**choices, group: str(option)}, CONFIG))
                    if key.startswith(f"{group}.")
                }
                found = {key for key in found if not key.startswith(f"{group}.")} | (own & found)
    return found


def _with_winner(
    base: DictConfig, fixed: list[str], varying: list[Override]
) -> tuple[list[str], list[Override], Winner]:
    """Return the fixed and the varying overrides that `sweep=final` stands for, and the winner.

    They train the winner of another sweep with several seeds.
    """
    fixed, seeds = seeds_of(base, fixed, varying)
    winner = winner_of(base)
    words = [*winner.shared, *winner.varied, "data.validate_on=train", *fixed]
    return words, [seeds], winner


def to_check(
    request: Request,
    base: DictConfig,
    composed: dict[tuple[str, ...], DictConfig] | None = None,
) -> Iterator[tuple[DictConfig, list[str]]]:
    """Yield the config and the overrides of each point that is to be checked.

    These are all points of a grid, and those that a plan wants checked. Of a search, they are
    points that together hold each value and each end of a range. Hydra takes a tenth of a second to
    compose a config, so points that differ only in numbers are composed once, in `composed`, and
    those that differ from `base` only in numbers are not composed again. base: the config of the
    overrides that hold for every trial.
    """
    composed = {} if composed is None else composed
    values = {key for key, _ in leaves(base)}
    if request.plan is not None:
        points = request.plan.checked()
    else:
        points = request.space.points() if request.is_grid else request.space.corners(MAX_CORNERS)
    for point in points:
        words = request.space.overrides(point)
        numbers = {
            d.key: point[d.name]
            for d in request.space.dimensions
            if isinstance(point.get(d.name), int | float)
        }
        alike = tuple(
            word if (key := word.partition("=")[0]) not in numbers else key for word in words
        )
        if alike not in composed and set(alike) <= values & set(numbers):
            composed[alike] = base
        elif alike not in composed:
            composed[alike] = compose_config(CONFIG, [*request.fixed, *words])
        cfg = composed[alike].copy()
        for key, value in numbers.items():
            OmegaConf.update(cfg, key, value)
        yield cfg, words
