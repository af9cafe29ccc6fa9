"""The winner of a sweep, to be trained again: on training and validation images together, with several seeds, each tested once."""

from pathlib import Path

from tunebook.checks import InputError, nearest
from tunebook.commandline.words import check_outside_words
from tunebook.runfolder import RunFolder
from tunebook.sweep.space import as_text


def settings_of_winner(name: str, storage: str | None, outputs: Path) -> tuple[list[str], str]:
    """The words of the command line that make the best trial of the sweep `name`, and the key of that sweep's own run.

    InputError where there is no such sweep, or none of its trials was trained to its end.
    """
    import optuna

    from tunebook.sweep.study import open_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = outputs / "sweeps" / name
    if storage is None and not (folder / "study.db").is_file():
        there = sorted(path.name for path in (outputs / "sweeps").glob("*") if (path / "study.db").is_file())
        known = f"; there are: {', '.join(there)}.{nearest(name, there)}" if there else ""
        raise InputError(f"sweep.of={name}: there is no such sweep in {outputs / 'sweeps'}{known}")
    try:
        study = optuna.load_study(study_name=name, storage=open_storage(storage or f"sqlite:///{folder}/study.db"))
        best = study.best_trial
        words = list(study.user_attrs["identity"]["settings"])
    except KeyError as error:
        raise InputError(f"sweep.of={name}: there is no such sweep in {storage or folder} ({error})") from None
    except ValueError:
        raise InputError(f"sweep.of={name}: none of its trials was trained to its end") from None
    if "precision" in study.user_attrs:  # what "auto" became there
        words.append(f"trainer.precision={study.user_attrs['precision']}")
    words += [f"{parameter.partition(' (')[0]}={as_text(value)}" for parameter, value in best.params.items()]
    try:
        key = RunFolder.read(folder).key
    except (OSError, ValueError, KeyError, TypeError):
        key = ""
    return [*check_outside_words(words, f"sweep.of={name}"), "data.validate_on=train"], key
