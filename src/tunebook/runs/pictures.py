"""Draw the pictures of a run after its test, and save them with it."""

from collections.abc import Sequence

import torch

from tunebook.data.augmentation import NoAugmentation
from tunebook.losses import is_reported
from tunebook.runs.assemble import RunComponents


def save_pictures(parts: RunComponents, history: Sequence[dict[str, float]]) -> None:
    """Draw the pictures of a tested run. history: the metrics of each epoch."""
    from tunebook.tracking import error_pictures, pictures  # imports matplotlib

    logits, names, test = (
        parts.task.test_predictions.logits,
        parts.data.contents.class_names,
        parts.data.sets["test"],
    )
    labels = test.labels[: len(logits)]
    worst = pictures.find_worst(labels, logits)
    validation = {"split": "validation", "test": "test set", "train": "a part of training"}[
        parts.data.validate_on
    ]
    drawn = {
        "confusion_matrix": pictures.confusion_matrix(labels, logits.argmax(1), names),
        "learning_curves": pictures.learning_curves(
            history, validation, another_loss=not is_reported(parts.task.loss)
        ),
        "calibration": error_pictures.calibration_curve(labels, logits),
    }
    for name, figure in drawn.items():
        parts.tracker.save_figure(figure, f"pictures/{name}.png")
    images = pictures.worst_images(test.images[worst], labels[worst], logits[worst], names)
    parts.tracker.save_image(images, "pictures/worst_images.png")
    if parts.tracker.wants_grad_cam:
        _save_grad_cam(parts, worst)
    if pairs := error_pictures.most_confused(labels, logits):
        shown = [test.images[places[: error_pictures.EXAMPLES]] for _, _, places in pairs]
        images = error_pictures.confused_classes(pairs, shown, names)
        parts.tracker.save_image(images, "pictures/confused_classes.png")
    if not isinstance(parts.data.augmentation, NoAugmentation):
        first, labels = (part[: pictures.AUGMENTED] for part in parts.data.first_batch())
        images = pictures.augmented_images(first, labels, names)
        parts.tracker.save_image(images, "pictures/augmented_images.png")


def _save_grad_cam(parts: RunComponents, chosen: torch.Tensor) -> None:
    """Draw test images with what speaks for the class that is predicted for them."""
    from tunebook.tracking.grad_cam import grad_cam, grad_cam_picture

    test, logits = parts.data.sets["test"], parts.task.test_predictions.logits[chosen]
    images, preprocessing = test.images[chosen], parts.data.preprocessing
    pixels = preprocessing.normalize(preprocessing.scale(images))
    maps = grad_cam(parts.task.network, pixels, logits.argmax(dim=1))
    names = parts.data.contents.class_names
    picture = grad_cam_picture(images, maps, test.labels[chosen], logits, names)
    parts.tracker.save_image(picture, "pictures/grad_cam.png")
