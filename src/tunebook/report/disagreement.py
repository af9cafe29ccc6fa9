"""Show the test images on which two runs disagree, for compare.py with `runs=[a,b]`."""

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException

from tunebook.analysis.disagreement import (
    PREDICTIONS,
    PREDICTIONS_HEADER,
    ClassifiedImage,
    Disagreement,
    compare_images,
)
from tunebook.config.validation import InputError, format_value
from tunebook.run_folder import write_atomically
from tunebook.text_output import counted, printable
from tunebook.tracking.run_lookup import find_run
from tunebook.tracking.run_reader import FoundRun
from tunebook.tracking.store import open_client

TABLE = "disagreements.csv"
CONTEXT = "mlflow.data.context"  # MLflow's tag of what data was used for
SHOWN = 20  # images in the terminal
MAX_BYTES = 1 << 28  # of a table of predictions, which may be another person's


def disagreement(uri: str, names: Sequence[str], reports: Path | None) -> str:
    """Return what is printed about two runs, and write a table of the images.

    reports: the folder for the table, or None for none. Raises InputError for runs that are not
    found, were not tested, or were tested on different images.
    """
    first, second = (find_run(uri, name, "runs") for name in names)
    if first.run_id == second.run_id:
        raise InputError(f"runs={_joined(names)}: both are the same run")
    tested = [_predictions(uri, run) for run in (first, second)]
    if _test_data(uri, first) != _test_data(uri, second):
        raise InputError(f"runs={_joined(names)}: the runs were tested on different images")
    try:
        found = compare_images(*tested)
    except ValueError as error:
        raise InputError(f"runs={_joined(names)}: {error}") from None
    lines = _lines([first, second], tested, found)
    if reports is not None and found.differing:
        file = reports / f"{first.run_id[:8]}-{second.run_id[:8]}" / TABLE
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, _table(found).encode(errors="replace"))
        lines += ["", f"report  {file}"]
    return "\n".join(lines)


def _joined(names: Sequence[str]) -> str:
    return format_value(printable(",".join(names)))


def _test_data(uri: str, run: FoundRun) -> set[str]:
    """Return the digests of the data that a run was tested on."""
    inputs = open_client(uri).get_run(run.run_id).inputs
    return {
        str(used.dataset.digest)
        for used in (inputs.dataset_inputs if inputs else [])
        if any(tag.key == CONTEXT and tag.value == "testing" for tag in used.tags)
    }


def _predictions(uri: str, run: FoundRun) -> list[ClassifiedImage]:
    """Return a run's predictions; raise InputError if it has none, or if they can't be read."""
    where = f"runs={format_value(printable(run.name))}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = Path(open_client(uri).download_artifacts(run.run_id, PREDICTIONS, folder))
        except (MlflowException, OSError):
            raise InputError(f"{where}: has no {PREDICTIONS} (was it tested?)") from None
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{where}: its {PREDICTIONS} is too large")
        header, *rows = [*csv.reader(io.StringIO(file.read_text(errors="replace")))] or [[]]
    if tuple(header) != PREDICTIONS_HEADER or any(len(row) != len(header) for row in rows):
        raise InputError(f"{where}: its {PREDICTIONS} can't be read")
    return [ClassifiedImage(image, label, predicted) for image, label, predicted, *_ in rows]


def _lines(
    runs: Sequence[FoundRun], tested: Sequence[list[ClassifiedImage]], found: Disagreement
) -> list[str]:
    rights = [sum(image.is_right for image in one) for one in tested]
    only = [len(found.only_first), len(found.only_second)]
    lines = [
        f"{letter}  {right / found.images:.2%} right, alone with {counted(one, 'image')}   "
        f"{printable(run.name)}"
        for letter, run, right, one in zip("AB", runs, rights, only, strict=True)
    ]
    better = "A" if only[0] > only[1] else "B"
    verdict = (
        f"{better} is better on these test images"
        if found.is_clear
        else "the test images do not tell the runs apart"
    )
    lines += [
        f"both are wrong in different ways on {counted(len(found.both_wrong), 'image')}, "
        f"of {found.images}",
        f"McNemar's exact test: p = {found.p:.2g}, so {verdict}",
        "",
    ]
    for first, second in found.differing[:SHOWN]:
        image, label, one, other = map(
            printable, (first.image, first.label, first.predicted, second.predicted)
        )
        lines.append(f"{image}: {label}   A {one}   B {other}")
    if len(found.differing) > SHOWN:
        lines.append(f"... and {len(found.differing) - SHOWN} more")
    return lines


def _table(found: Disagreement) -> str:
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(("image", "label", "a", "b"))
    for first, second in found.differing:
        out.writerow((first.image, first.label, first.predicted, second.predicted))
    return text.getvalue()
