"""Tell runs on different images of the user's own apart, by what they recorded in MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlflow.entities import Run as MLflowRun

from tunebook.analysis.results import IMAGES, Run, Setting
from tunebook.config.roles import Role, role_of
from tunebook.report.params import PLACES_OF_IMAGES, arguments_of
from tunebook.tags import IMAGES as TAG

DIGITS = 6  # of the digest, which follow the name


def images_of(runs: Sequence[MLflowRun]) -> dict[str, str]:
    """Return run id -> the name of the images that it was trained on, such as `photos 3f2a9c`.

    Runs on known data sets are not in it. It is empty if all others have the same images.
    """
    found: dict[str, str] = {}
    names: dict[str, str] = {}  # digest -> the first name, since a copied folder may have another
    for run in runs:
        if TAG in run.data.tags:
            name, _, digest = run.data.tags[TAG].rpartition(" ")
            found[run.info.run_id] = names.setdefault(digest, f"{name} {digest[:DIGITS]}")
    return found if len(names) > 1 else {}


def with_images(rows: Sequence[Run], images: Mapping[str, str]) -> list[Run]:
    """Return the runs, with their images as a setting."""
    return [
        replace(row, values={**row.values, IMAGES: images[row.run_id]})
        if row.run_id in images
        else row
        for row in rows
    ]


def setting(images: Mapping[str, str]) -> tuple[Setting, ...]:
    """Return the images as a setting that varies; () if they are the same in all runs."""
    names = tuple(dict.fromkeys(images.values()))
    return (Setting(IMAGES, False, names),) if names else ()


def overrides(runs: Sequence[MLflowRun], images: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the name of images -> the overrides of a run's command that say where they are."""
    return {
        images[run.info.run_id]: tuple(
            word
            for word in arguments_of(run)
            if word.partition("=")[0] in PLACES_OF_IMAGES
            or (role_of(word) == Role.DATA and word.startswith("data."))
        )
        for run in runs
        if run.info.run_id in images
    }
