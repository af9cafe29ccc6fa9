"""The results of classes are those that scikit-learn computes."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from tests.integration.test_metrics import CLASSES, guesses
from tunebook.metrics.classes import class_results, weakest

NAMES = [f"class {number}" for number in range(CLASSES)]


def test_they_are_what_sklearn_computes() -> None:
    logits, labels = guesses(400)
    found = class_results(labels, logits.argmax(1), NAMES)
    expected = precision_recall_fscore_support(labels, logits.argmax(1))
    for place, name in enumerate(("precision", "recall", "f1", "images")):
        assert [getattr(one, name) for one in found] == pytest.approx(list(expected[place]))
    scores = np.array([one.f1 for one in found])
    assert [one.name for one in weakest(found, 2)] == [NAMES[i] for i in scores.argsort()[:2]]


def test_what_is_not_defined_is_none() -> None:
    labels, predictions = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0])
    cat, dog, bird = class_results(labels, predictions, ["cat", "dog", "bird"])
    assert (cat.precision, cat.recall, cat.f1) == (2 / 3, 1.0, 0.8)
    assert (dog.precision, dog.recall, dog.f1) == (None, 0.0, 0.0)
    assert (bird.images, bird.precision, bird.recall, bird.f1) == (0, None, None, None)
    assert weakest([cat, dog, bird], 3) == [dog, cat]
