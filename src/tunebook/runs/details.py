"""Record the details of a test: an interval of each metric, and the result of each class."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from tunebook.analysis.disagreement import PREDICTIONS, PREDICTIONS_HEADER
from tunebook.metrics.classes import ClassResult, class_results, weakest
from tunebook.metrics.facts import title_of, value_text
from tunebook.metrics.intervals import Interval, intervals_of_test
from tunebook.metrics.kept import probabilities_of
from tunebook.runs.assemble import RunComponents
from tunebook.tags import TEST_INTERVALS
from tunebook.text_output import counted, csv_cell, printable
from tunebook.tracking import Tracker
from tunebook.tracking.tracker import rounded

SHOWN_CLASSES = 3  # in the summary
HEADER = ("class", "images", "precision", "recall", "f1")


@dataclass(frozen=True)
class TestDetails:
    """Hold what is known of a test besides its metrics.

    intervals: 95 % intervals by the metrics' full names. predictions: for each image its name (or
    its number from 0), its class, the predicted class with its probability, and the loss in nats.
    """

    images: int
    intervals: Mapping[str, Interval]
    classes: list[ClassResult]
    predictions: list[tuple[str, str, str, float, float]]

    def save(self, tracker: Tracker) -> None:
        """Save the intervals as a tag and a file, and tables of the classes and of the images."""
        found = {name: [rounded(limit) for limit in one] for name, one in self.intervals.items()}
        tracker.set_tags({TEST_INTERVALS: json.dumps(found)})
        tracker.save_text(json.dumps(found, indent=1) + "\n", "test/intervals.json")
        classes = (
            (one.name, one.images, _number(one.precision), _number(one.recall), _number(one.f1))
            for one in self.classes
        )
        tracker.save_text(_table(HEADER, classes), "test/classes.csv")
        predictions = (
            (*words, _number(probability), _number(loss))
            for *words, probability, loss in self.predictions
        )
        tracker.save_text(_table(PREDICTIONS_HEADER, predictions), PREDICTIONS)

    def summary(self) -> list[str]:
        """Return lines for the run's summary: the intervals, and the classes of the lowest F1."""
        limits = ", ".join(
            f"{title_of(name)} {value_text(name, low)} to {value_text(name, high)}"
            for name, (low, high) in self.intervals.items()
        )
        low = ", ".join(
            f"{printable(one.name)} {one.f1:.3f} ({counted(one.images, 'image')})"
            for one in weakest(self.classes, SHOWN_CLASSES)
        )
        return [
            f"95 % interval  {limits}   (bootstrap of {counted(self.images, 'test image')})",
            f"lowest F1      {low}   (all classes: test/classes.csv of the run)",
        ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table as CSV; a spreadsheet reads none of its cells as a formula."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(header)
    out.writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()


def details_of_test(parts: RunComponents) -> TestDetails:
    """Return the details of the test that `parts.task` has just done."""
    kept, task = parts.task.test_predictions, parts.task
    logits, labels = kept.logits, kept.labels
    names = parts.data.contents.class_names
    images = parts.data.source.test_names(Path(parts.data.root))
    return TestDetails(
        len(labels),
        intervals_of_test(logits, labels, task.further_metrics, task.seed),
        class_results(labels, logits.argmax(dim=1), names),
        _predictions(logits, labels, names, images),
    )


def _predictions(
    logits: Tensor, labels: Tensor, names: Sequence[str], images: Sequence[str] | None
) -> list[tuple[str, str, str, float, float]]:
    """Return each image's name, true and predicted class, its probability, and the loss."""
    probabilities, guesses = probabilities_of(logits).max(dim=1)
    losses = F.cross_entropy(logits.double(), labels, reduction="none")
    rows = zip(
        labels.tolist(), guesses.tolist(), probabilities.tolist(), losses.tolist(), strict=True
    )
    return [
        (images[i] if images else str(i), names[label], names[guess], probability, loss)
        for i, (label, guess, probability, loss) in enumerate(rows)
    ]
