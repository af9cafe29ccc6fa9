"""Compute how well each class is recognized."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ClassResult:
    """Hold the test result of a class.

    images: how many there are of the class.
    precision: the share of the images classified as this class that belong to it; None for none.
    recall: the share of the class's images that are recognized; None for none.
    f1: the harmonic mean of precision and recall; None without images and predictions.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None


def class_results(labels: Tensor, predictions: Tensor, names: Sequence[str]) -> list[ClassResult]:
    """Return the result of each class, in the order of `names`.

    labels, predictions: int64 (N,).
    """
    size = len(names)
    images = labels.bincount(minlength=size).tolist()
    predicted = predictions.bincount(minlength=size).tolist()
    right = labels[labels == predictions].bincount(minlength=size).tolist()
    return [
        ClassResult(
            name,
            images[i],
            _share(right[i], predicted[i]),
            _share(right[i], images[i]),
            _share(2 * right[i], images[i] + predicted[i]),
        )
        for i, name in enumerate(names)
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def weakest(results: Sequence[ClassResult], count: int) -> list[ClassResult]:
    """Return the classes with the lowest F1, the lowest first."""
    known = [one for one in results if one.f1 is not None]
    return sorted(known, key=lambda one: one.f1 or 0.0)[:count]
