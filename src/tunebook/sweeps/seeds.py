"""Group the trials of a sweep that differ only in their seed or their fold.

As in compare.py, each group has a median, an interval and a number of failures.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from omegaconf.errors import OmegaConfBaseException
from optuna.trial import FrozenTrial, TrialState

from tunebook.analysis.leaderboard import Configuration, half_width, leaderboard
from tunebook.analysis.results import Results, Run, repeated_over
from tunebook.analysis.sentences import DEFAULTS, failures_text, learning_text, measured_text
from tunebook.config.compose import compose_config
from tunebook.config.files import ConfigError
from tunebook.config.paths import ROOT
from tunebook.config.roles import (
    FOLD,
    FOLDS,
    SEED,
    SHARED_IN_A_SWEEP,
    Role,
    key_of,
    repeats,
    role_of,
)
from tunebook.config.run_config import plain
from tunebook.config.validation import InputError, SettingError
from tunebook.metrics.facts import Direction, facts_of
from tunebook.runs.assemble import make_source
from tunebook.sweeps.plan import FINAL_SEEDS, settings_key
from tunebook.sweeps.request import Request
from tunebook.sweeps.space import as_text, in_short

CONFIG = "config"
CLASSES = "classes"  # the study's attribute for how many classes the images have
DECIDE_ON_DATA = (Role.DATA, Role.PRESET)


def has_seeds(request: Request) -> bool:
    """Return whether a sweep varies the seed or the fold."""
    return any(repeats(dimension.key) for dimension in request.space.dimensions)


def is_one_configuration(request: Request) -> bool:
    """Return whether a sweep varies nothing but the seed and the fold.

    These are not settings to choose.
    """
    return all(repeats(dimension.key) for dimension in request.space.dimensions)


def folds_of(request: Request) -> int | None:
    """Return the number of folds if the trials of a sweep are a cross-validation, or None."""
    found = [dimension for dimension in request.space.dimensions if dimension.key == FOLD]
    words = [word.partition("=")[2] for word in request.fixed if key_of(word) == FOLDS]
    return int(words[-1]) if found and words else None


def classes_of(request: Request) -> int | None:
    """Return the number of classes that the images of all trials have.

    Return None if it differs among trials, or if the data module of one can't be created.
    """
    varied = [
        one
        for one in request.space.dimensions
        if one.values and one.when is None and role_of(one.key) in DECIDE_ON_DATA
    ]
    found: set[int] = set()
    for values in itertools.product(*(one.values or () for one in varied)):
        words = [f"{one.key}={as_text(value)}" for one, value in zip(varied, values, strict=True)]
        try:
            cfg = compose_config(CONFIG, [*request.fixed, *words])
            data = plain(cfg.data)
            found.add(len(make_source(data).find(ROOT / data["root"]).class_names))
        except (ConfigError, SettingError, InputError, OmegaConfBaseException):
            # These settings are valid only together with others that vary, as in each trial.
            return None
    return found.pop() if len(found) == 1 else None


def over_seeds(
    trials: Sequence[FrozenTrial],
    figure: str,
    direction: Direction,
    classes: int | None,
    *,
    is_final: bool = False,
    folds: int | None = None,
) -> Results:
    """Return the complete trials of a sweep as the results that compare.py would read.

    Trial numbers are used in place of run ids. Trials of a final sweep were trained on the
    validation images as well, so that only their test metrics count.
    figure: the metric by which trials are compared. folds: the number of parts, if they are a
    cross-validation.
    """
    runs: list[Run] = []
    for trial in trials:
        value = trial.user_attrs.get(figure) if is_final else trial.value
        if trial.state == TrialState.COMPLETE and value is not None:
            values = {name: value for name, value in trial.params.items() if not repeats(name)}
            seed, fold = trial.params.get(SEED), trial.params.get(FOLD)
            runs.append(
                Run(
                    str(trial.number), "", values, 0 if folds and seed is None else seed,
                    "complete", float(value), fold=fold, folds=folds,
                )
            )  # fmt: skip
    return Results("", figure, direction, (), tuple(runs), classes=classes)


@dataclass(frozen=True)
class OverSeeds:
    """Summarise a sweep with several seeds.

    classes: the number of classes of the images; None if that is not known.
    """

    trials: Sequence[FrozenTrial]
    request: Request
    classes: int | None

    @cached_property
    def results(self) -> Results:
        """Return the complete trials."""
        request = self.request
        return over_seeds(
            self.trials,
            request.figure,
            request.figure_direction,
            self.classes,
            is_final=request.is_final,
            folds=folds_of(request),
        )

    @cached_property
    def board(self) -> tuple[Configuration, ...]:
        """Return the configurations, best median first.

        Those of `sweep=auto` without enough seeds come last, as the best of many single runs is the
        best by luck.
        """
        ranked = [one for one in leaderboard(self.results) if one.n]
        if self.request.is_auto:
            ranked.sort(key=lambda one: one.n < FINAL_SEEDS)
        return tuple(ranked)

    @property
    def is_worth_showing(self) -> bool:
        """Return whether a configuration has several seeds, or the only configuration has any."""
        return any(one.n > 1 or is_one_configuration(self.request) for one in self.board)

    def words(self, one: Configuration) -> list[str]:
        """Return the settings of a configuration, as overrides.

        They are those that vary or, if only the seed varies, those given on the command line.
        """
        request = self.request
        varied = [*request.winner, *request.space.overrides(dict(one.values))]
        fixed = [word for word in request.fixed if role_of(word) not in SHARED_IN_A_SWEEP]
        return varied or list({word.partition("=")[0]: word for word in fixed}.values())

    def measured(self, one: Configuration) -> str:
        """Return the objective of a configuration as text, in the form of compare.py."""
        return measured_text(self.results.objective, one)

    def failures(self) -> str:
        """Return compare.py's sentence on how many runs did not learn.

        It is "" if all of them learned.
        """
        return learning_text(self.results, self.board)

    def title(self) -> str:
        """Return the title of the table."""
        subject = "one configuration " if len(self.board) == 1 else ""
        repeated = repeated_over(self.results.runs)
        return f"{subject}over {repeated} (n of them): median +- 95 % interval"

    def table(self) -> list[list[str]]:
        """Return the rows of the table, preceded by the names of the columns.

        The columns are n, the objective, its test metric if there is one, and the settings.
        """
        objective, tested = self.results.objective, self.request.tested
        tests = {
            str(trial.number): float(trial.user_attrs[tested])
            for trial in self.trials
            if tested in trial.user_attrs
        }
        has_tests = objective != tested and bool(tests)
        rows = [["n", objective, *([tested] if has_tests else []), "settings"]]
        for one in self.board:
            figures = [_said(objective, one.median, one.half_width)]
            if has_tests:
                figures.append(_of_all(tested, one.figures(tests), one.overlap))
            settings = f"{in_short(self.words(one)) or DEFAULTS}  {failures_text(one)}".rstrip()
            rows.append([str(one.n), *figures, settings])
        return rows


def _of_all(metric: str, values: Sequence[float], overlap: float) -> str:
    return _said(metric, statistics.median(values), half_width(values, overlap)) if values else ""


def _said(metric: str, median: float, width: float) -> str:
    scale, digits, unit = (100, 2, " %") if facts_of(metric).in_percent else (1, 4, "")
    spread = "" if math.isnan(width) else f" +- {scale * width:.{digits}f}"
    return f"{scale * median:.{digits}f}{spread}{unit}"


def best_over_seeds(
    trials: Sequence[FrozenTrial], objective: str, direction: str, remembered: Mapping[str, object]
) -> FrozenTrial | None:
    """Return a trial of the configuration with the best median over its seeds and folds.

    Return None if no trial is complete.
    direction: Optuna's, maximize or minimize. remembered: the attributes of the study.
    """
    classes = remembered.get(CLASSES)
    results = over_seeds(
        trials,
        objective,
        "max" if direction == "maximize" else "min",
        classes if isinstance(classes, int) else None,
    )
    ranked = [one for one in leaderboard(results) if one.n]
    return (
        {str(trial.number): trial for trial in trials}[ranked[0].ranked[0].run_id]
        if ranked
        else None
    )


def finalists_of(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials of the configurations with at least three runs; all, if there are none.

    `sweep=auto` chooses among these: the best of many single runs is the best by luck.
    """
    runs: dict[object, list[FrozenTrial]] = {}
    for trial in trials:
        values = {name: value for name, value in trial.params.items() if not repeats(name)}
        runs.setdefault(settings_key(values), []).append(trial)
    several = [one for same in runs.values() if len(same) >= FINAL_SEEDS for one in same]
    return several or list(trials)
