"""Compare two runs image by image, on the same test images.

McNemar's test (McNemar 1947) uses the images that only one of the runs classifies correctly. It
tells more than the two test metrics, since it leaves out the images on which the runs agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.05
# The artifact with a run's prediction for each test image, and its columns.
PREDICTIONS = "test/predictions.csv"
PREDICTIONS_HEADER = ("image", "label", "predicted", "probability", "loss")


@dataclass(frozen=True)
class ClassifiedImage:
    """Hold how a run classified a test image; `image` is its path, or its number from 0."""

    image: str
    label: str
    predicted: str

    @property
    def is_right(self) -> bool:
        """Return whether the prediction is the true class."""
        return self.predicted == self.label


@dataclass(frozen=True)
class Disagreement:
    """Hold how two runs differ in the classes of their test images.

    only_first, only_second: the images that only this run classifies correctly. both_wrong: the
    images that both classify wrongly, but differently. p: of McNemar's exact test.
    """

    images: int
    only_first: list[tuple[ClassifiedImage, ClassifiedImage]]
    only_second: list[tuple[ClassifiedImage, ClassifiedImage]]
    both_wrong: list[tuple[ClassifiedImage, ClassifiedImage]]
    p: float

    @property
    def is_clear(self) -> bool:
        """Return whether one of the runs is better on these images, at the level of 5 %."""
        return self.p < LEVEL

    @property
    def differing(self) -> list[tuple[ClassifiedImage, ClassifiedImage]]:
        """Return the images to which the runs give different classes."""
        return [*self.only_first, *self.only_second, *self.both_wrong]


def compare_images(
    first: Sequence[ClassifiedImage], second: Sequence[ClassifiedImage]
) -> Disagreement:
    """Return how two runs differ; raise ValueError if they were tested on other images."""
    from scipy.stats import binomtest  # here, because a run only needs the names above

    images = [(one.image, one.label) for one in first]
    if images != [(one.image, one.label) for one in second]:
        raise ValueError("the runs were tested on different images")
    pairs = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]]
    only_first = [pair for pair in pairs if pair[0].is_right]
    only_second = [pair for pair in pairs if pair[1].is_right]
    both_wrong = [pair for pair in pairs if not pair[0].is_right and not pair[1].is_right]
    clear = len(only_first) + len(only_second)
    p = float(binomtest(len(only_first), clear, 0.5).pvalue) if clear else 1.0
    return Disagreement(len(first), only_first, only_second, both_wrong, p)
