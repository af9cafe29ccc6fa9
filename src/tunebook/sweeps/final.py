"""Find the winner of a sweep, to be trained again: with more seeds, or change by change.

`sweep=final` trains it on training and validation images together, and tests each seed once.
`sweep=ablation` explains it.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from tunebook.config.overrides import check_outside_words
from tunebook.config.roles import FOLD, FOLDS, SEED, key_of, repeats
from tunebook.config.validation import InputError, SettingError, suggest, validate_value
from tunebook.sweeps.outside import check_storage
from tunebook.sweeps.request import Trials
from tunebook.sweeps.result import trial_folder
from tunebook.sweeps.space import Value, as_text, split

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Winner:
    """Hold the best trial of a sweep.

    name: of the sweep. shared: the overrides that all trials of the sweep had. drawn: the name of
    each parameter in the study, except seeds and folds -> the winner's value. seeds: those that the
    sweep's trials had. folder: of the trial, which may be on another machine.
    """

    name: str
    shared: tuple[str, ...]
    drawn: Mapping[str, Value]
    seeds: frozenset[int]
    folder: Path

    @property
    def varied(self) -> tuple[str, ...]:
        """Return the overrides in which the sweep's trials differ."""
        return tuple(_word(name, value) for name, value in self.drawn.items())


def winner_of(base: DictConfig) -> Winner:
    """Return the winner of the sweep that `sweep.of` names.

    Raise SettingError or InputError if there is no such sweep, or if it has no winner.
    """
    if base.sweep.of is None:
        raise SettingError(
            "sweep.of", None, "is required: the name of a sweep, as printed in its first line"
        )
    check_storage(base.sweep.storage)
    return find_winner(str(base.sweep.of), base.sweep.storage, Path(str(base.outputs)))


def seeds_of(
    base: DictConfig,
    fixed: Sequence[str],
    varying: Sequence[Override],
    known: Collection[int] = (),
) -> tuple[list[str], Override]:
    """Return the other fixed overrides, and the override that varies the seed.

    Without seeds on the command line, they are the first `sweep.seeds` from 1 on. known: seeds
    that are left out of these. Raise SettingError if anything but the seed varies.
    """
    count = validate_value("sweep.seeds", base.sweep.seeds, Trials)
    option = str(base.hydra.runtime.choices["sweep"])
    if other := [one.get_key_element() for one in varying if one.get_key_element() != SEED]:
        message = f"varies the seed alone, not {other[0]}"
        raise SettingError("sweep", option, message)
    single = [word for word in fixed if key_of(word) == SEED]
    if len(varying) + len(single) > 1:
        raise SettingError(SEED, (varying[-1].input_line or "").partition("=")[2], "is given twice")
    new = itertools.islice((seed for seed in itertools.count(1) if seed not in known), count)
    chosen = [word.partition("=")[2] for word in single] or map(str, new)
    others = [word for word in fixed if word not in single]
    return others, varying[0] if varying else split([f"seed=choice({','.join(chosen)})"])[1][0]


def find_winner(name: str, storage: str | None, outputs: Path) -> Winner:
    """Return the winner of the sweep `name`.

    Raise InputError if there is no such sweep, or if none of its trials is complete.
    """
    folder = outputs / "sweeps" / name
    study = study_of(name, storage, outputs)
    try:
        best = _best(study)
        identity = study.user_attrs["identity"]
        words = list(identity["settings"])
    except KeyError as error:
        raise InputError(
            f"sweep.of={name}: no such sweep in {storage or folder} ({error})"
        ) from None
    except ValueError:
        raise InputError(f"sweep.of={name}: none of its trials is complete") from None
    _refuse_winners_own_sweep(name, identity["sweep"])
    if "precision" in study.user_attrs:  # what "auto" was resolved to there
        words.append(f"trainer.precision={study.user_attrs['precision']}")
    drawn = {key: value for key, value in best.params.items() if not repeats(key)}
    known_words = check_outside_words(
        [*words, *(_word(parameter, value) for parameter, value in drawn.items())],
        f"sweep.of={name}",
    )
    shared = [word for word in known_words[: len(words)] if not _is_repeated(word)]
    seeds = {trial.params.get(SEED) for trial in study.get_trials(deepcopy=False)}
    numbers = frozenset(seed for seed in seeds if isinstance(seed, int))
    return Winner(name, tuple(shared), drawn, numbers, trial_folder(folder, best.number))


def study_of(name: str, storage: str | None, outputs: Path) -> "Study":
    """Return the study of another sweep; raise InputError if there is none with this name."""
    import optuna

    from tunebook.sweeps.storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = outputs / "sweeps" / name
    if storage is None and ("/" in name or not (folder / "study.db").is_file()):
        names = sorted(
            path.name for path in (outputs / "sweeps").glob("*") if (path / "study.db").is_file()
        )
        known = f"; available: {', '.join(names)}.{suggest(name, names)}" if names else ""
        raise InputError(f"sweep.of={name}: no such sweep in {outputs / 'sweeps'}{known}")
    try:
        return optuna.load_study(
            study_name=name, storage=open_storage(storage or f"sqlite:///{folder}/study.db")
        )
    except KeyError as error:
        raise InputError(
            f"sweep.of={name}: no such sweep in {storage or folder} ({error})"
        ) from None


def _refuse_winners_own_sweep(name: str, asked: Mapping[str, Any]) -> None:
    """Raise SettingError if a sweep is itself about the winner of another one.

    asked: the settings of the group `sweep` that identify it.
    """
    if "of" in asked and asked.get("plan") != "auto":
        does = "explains" if "plan" in asked else "trains"
        message = f"already {does} the winner of another sweep, {asked['of']}"
        raise SettingError("sweep.of", name, message)


def _word(parameter: str, value: Value) -> str:
    """Return a parameter of the study as an override.

    parameter: such as `optimizer.lr (optimizer=adam)`.
    """
    return f"{parameter.partition(' (')[0]}={as_text(value)}"


def _is_repeated(word: str) -> bool:
    """Return whether an override is of a seed or a cross-validation, which are chosen anew."""
    return repeats(word) or key_of(word) in (FOLDS, FOLD)


def _best(study: "Study") -> "FrozenTrial":
    """Return the best trial, or one of the best configuration if the seed or the fold varies.

    Raise ValueError if no trial is complete.
    """
    best = study.best_trial
    if not any(map(repeats, best.params)):
        return best
    from tunebook.sweeps.seeds import (  # imports statistics, needed only here
        best_over_seeds,
        finalists_of,
    )

    objective, direction = (
        str(study.user_attrs["identity"]["objective"]),
        study.direction.name.lower(),
    )
    trials = study.trials
    if study.user_attrs["identity"]["sweep"].get("plan") == "auto":
        trials = finalists_of(trials)
    return best_over_seeds(trials, objective, direction, study.user_attrs) or best
