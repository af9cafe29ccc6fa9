"""Find the winner of a sweep, to be trained again with several seeds.

It is trained on training and validation images together, and each seed is tested once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunebook.config.overrides import check_outside_words
from tunebook.config.roles import FOLD, FOLDS, key_of, repeats
from tunebook.config.validation import InputError, SettingError, suggest
from tunebook.sweeps.space import as_text

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Winner:
    """Hold the best trial of a sweep.

    words: the overrides of the trial. varied: those of them in which the sweep's trials differ.
    """

    words: list[str]
    varied: tuple[str, ...]


def find_winner(name: str, storage: str | None, outputs: Path) -> Winner:
    """Return the winner of the sweep `name`.

    Raise InputError if there is no such sweep, or if none of its trials is complete.
    """
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
        study = optuna.load_study(
            study_name=name, storage=open_storage(storage or f"sqlite:///{folder}/study.db")
        )
        best = _best(study)
        identity = study.user_attrs["identity"]
        words = list(identity["settings"])
    except KeyError as error:
        raise InputError(
            f"sweep.of={name}: no such sweep in {storage or folder} ({error})"
        ) from None
    except ValueError:
        raise InputError(f"sweep.of={name}: none of its trials is complete") from None
    if "of" in identity["sweep"]:
        message = f"already trains the winner of another sweep, {identity['sweep']['of']}"
        raise SettingError("sweep.of", name, message)
    if "precision" in study.user_attrs:  # what "auto" was resolved to there
        words.append(f"trainer.precision={study.user_attrs['precision']}")
    drawn = [
        f"{parameter.partition(' (')[0]}={as_text(value)}"
        for parameter, value in best.params.items()
    ]
    words = check_outside_words([*words, *drawn], f"sweep.of={name}")
    varied = tuple(word for word in words[-len(drawn) :] if not repeats(word))
    others = [word for word in words[: len(words) - len(drawn)] if not _is_of_folds(word)]
    return Winner([*others, *varied, "data.validate_on=train"], varied)


def _is_of_folds(word: str) -> bool:
    """Return whether an override is of a cross-validation; the winner is trained on all images."""
    return key_of(word) in (FOLDS, FOLD)


def _best(study: "Study") -> "FrozenTrial":
    """Return the best trial, or one of the best configuration if the seed or the fold varies.

    Raise ValueError if no trial is complete.
    """
    best = study.best_trial
    if not any(map(repeats, best.params)):
        return best
    from tunebook.sweeps.seeds import best_over_seeds  # imports statistics, needed only here

    objective, direction = (
        str(study.user_attrs["identity"]["objective"]),
        study.direction.name.lower(),
    )
    return best_over_seeds(study.trials, objective, direction, study.user_attrs) or best
