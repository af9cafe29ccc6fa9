"""Check that a config can run, before anything is loaded or created.

Shapes are tried on torch's meta device, which allocates no memory.
"""

import math
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tunebook import machine
from tunebook.config.run_config import RunConfig, Settings
from tunebook.config.validation import LARGEST_FLOAT, SettingError, one_line, validate_value
from tunebook.data.augmentation.steps import augment, mixes_labels
from tunebook.data.remembered import remembering
from tunebook.metrics.kept import check_metrics
from tunebook.networks import FineTunedNetwork
from tunebook.runs import resume
from tunebook.runs.assemble import (
    Finder,
    RunComponents,
    batches_of,
    build,
    make,
    make_augmentation,
    steps_of,
    trainer_for,
)
from tunebook.runs.memory import check_memory
from tunebook.runs.pretrained import check_weights
from tunebook.runs.stand_ins import stand_in_optimizer
from tunebook.training import VerifiedCheckpoints

NOTEBOOK = "keras_notebook"
SIMULATED_STEPS = 5000  # at most this many steps of a schedule are tried
WORKERS_A_PROCESSOR = 4  # more data loader workers would only wait for one another


def check(config: RunConfig) -> None:
    """Raise SettingError if `config` can't run."""
    with remembering():
        _check(config)


def _check(config: RunConfig) -> None:
    settings = config.settings
    if (
        settings["data"].get("validate_on") == "test"
        and config.choices.get("experiment") != NOTEBOOK
    ):
        raise SettingError(
            "data.validate_on",
            "test",
            f"only experiment={NOTEBOOK} may validate on the test set; allowed: split, train",
        )
    with torch.device("meta"):
        parts = build(settings)
        _check_shapes(parts)
    _check_augmentation(parts)
    _check_loss(parts)
    check_metrics(parts.task.further_metrics, len(parts.data.contents.class_names))
    trainer_for(parts, Path(), parts.callbacks, VerifiedCheckpoints())
    _check_limits(parts)
    with torch.device("meta"):
        _start_last_epoch(parts)
        check_memory(parts)
        _check_smallest_batch(parts)
    _check_schedule(parts)
    parts.data.source.check(parts.data.root)
    parts.tracker.check()
    _check_find(settings)
    _check_grad_cam(parts)
    resumes = resume.check(config)
    if not resumes:  # otherwise the checkpoint has the weights
        check_weights(parts.task.network)


def _check_grad_cam(parts: RunComponents) -> None:
    """Raise SettingError if Grad-CAM is wanted of a network that has no feature map."""
    if not parts.tracker.wants_grad_cam:
        return
    from tunebook.tracking.grad_cam import feature_map_of  # imports matplotlib

    with torch.device("meta"):
        layer = feature_map_of(parts.task.network, parts.data.contents.image_shape)
    if layer is None:
        message = f"{parts.settings['model']['_target_']} has no feature map for Grad-CAM"
        raise SettingError("tracking.save_grad_cam", True, message)


def _check_find(settings: Settings) -> None:
    """Raise SettingError if `find` names no finder, or one that this config can't use."""
    wanted = validate_value("find", settings["find"], Finder | None)
    if wanted is not None and settings["resume"] is not None:
        raise SettingError("find", wanted, "can't be combined with resume")


def _check_limits(parts: RunComponents) -> None:
    data = parts.data
    if data.num_workers > (most := WORKERS_A_PROCESSOR * machine.processors()):
        message = (
            f"must be at most {most}, {WORKERS_A_PROCESSOR} per available processor; "
            "the result does not depend on it"
        )
        raise SettingError("data.num_workers", data.num_workers, message)
    test = data.contents.test_size
    sizes = {
        "train": (data.train_size, data.batch_size),
        "val": (data.val_size, data.eval_batch_size),
        "test": (test, data.eval_batch_size),
    }
    for split, (images, batch_size) in sizes.items():
        key = f"limit_{split}_batches"
        limit = parts.settings["trainer"][key]
        batches = -(-images // batch_size)
        if isinstance(limit, float) and limit < 1 and limit * batches < 1:
            raise SettingError(f"trainer.{key}", limit, f"selects none of the {batches} batches")


def _check_shapes(parts: RunComponents) -> None:
    name, contents = parts.settings["model"]["_target_"], parts.data.contents
    try:
        shape = tuple(parts.task.network.eval()(torch.empty(2, *contents.image_shape)).shape)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SettingError(
            "model", name, f"does not accept images of shape {contents.image_shape}: {error}"
        ) from error
    if shape != (2, len(contents.class_names)):
        raise SettingError(
            "model",
            name,
            f"returns shape {shape} for 2 images, not {(2, len(contents.class_names))}",
        )


def _start_last_epoch(parts: RunComponents) -> None:
    """Unfreeze what is trained in the last epoch, which needs the most memory.

    Raises SettingError if several processes would have to unfreeze weights.
    """
    network, trainer = parts.task.network, parts.settings["trainer"]
    if not isinstance(network, FineTunedNetwork):
        return
    if network.unfreeze_at_epoch is not None and trainer["devices"] != 1:
        # DistributedDataParallel averages the gradients of those that it finds at its start.
        message = "needs trainer.devices=1: several processes can't unfreeze weights in training"
        raise SettingError("model.unfreeze_at_epoch", network.unfreeze_at_epoch, message)
    network.start_epoch(int(trainer["max_epochs"]))


def _check_smallest_batch(parts: RunComponents) -> None:
    """Raise SettingError if the last batch of an epoch is too small for the network's batch norm.

    A batch of the usual size was tried before.
    """
    data, trainer = parts.data, parts.settings["trainer"]
    devices = trainer["devices"] if isinstance(trainer["devices"], int) else 1
    rest = data.train_size % data.batch_size
    is_reached = batches_of(trainer, data) == math.ceil(data.train_size / data.batch_size)
    if rest // devices != 1 or not is_reached:
        return
    try:
        parts.task.network.train()(torch.empty(1, *data.contents.image_shape))
    except (RuntimeError, ValueError) as error:
        message = (
            f"leaves a device one image of {data.train_size} for the last batch, with which the "
            f"network can't be trained: {one_line(str(error))}"
        )
        raise SettingError("data.batch_size", data.batch_size, message) from error


def _check_loss(parts: RunComponents) -> None:
    """Raise SettingError if the loss does not give a differentiable number for a batch."""
    classes, name = len(parts.data.contents.class_names), parts.settings["loss"]["_target_"]
    with torch.device("cpu"):
        counts = torch.ones(classes, dtype=torch.int64)  # the images are not loaded yet
        loss = make(
            parts.settings["loss"], "loss", num_classes=classes, class_counts=lambda: counts
        )
    # Not as many images as classes, lest a loss of two equal shapes seem to work.
    size = classes + 1
    logits = torch.zeros(size, classes, requires_grad=True)
    labels = torch.arange(size) % classes
    if mixes_labels(parts.data.augmentation):
        labels = nn.functional.one_hot(labels, classes).float()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # such as one about shapes that differ
            value = loss(logits, labels)
    except (RuntimeError, ValueError, TypeError, IndexError, UserWarning) as error:
        what = "labels" if labels.ndim == 1 else "the probabilities of mixed labels"
        message = (
            f"can't be computed from logits ({size}, {classes}) and {what} {tuple(labels.shape)}: "
            f"{one_line(str(error))}"
        )
        raise SettingError("loss", name, message) from error
    if not isinstance(value, torch.Tensor) or value.shape != () or not value.requires_grad:
        raise SettingError("loss", name, "must give one differentiable number for a batch")


def _check_augmentation(parts: RunComponents) -> None:
    """Raise SettingError if the augmentation fails or gives no images of the same shape."""
    shape = (2, *parts.data.contents.image_shape)
    where, option = "augmentation", parts.settings["augmentation"].get("_target_", "several")
    with torch.device("cpu"):
        augmentation = make_augmentation(parts.settings["augmentation"])
        labels, index = torch.zeros(2, dtype=torch.int64), torch.arange(2)
        classes = len(parts.data.contents.class_names)
        try:
            images, _ = augment(augmentation, torch.zeros(shape), labels, classes, index, 0)
        except (RuntimeError, ValueError, TypeError, IndexError, ArithmeticError) as error:
            message = f"does not accept images of shape {shape[1:]}: {one_line(str(error))}"
            raise SettingError(where, option, message) from error
    if not isinstance(images, torch.Tensor) or images.shape != shape:
        raise SettingError(where, option, f"must give images of the same shape, {shape[1:]}")


def _check_schedule(parts: RunComponents) -> None:
    """Raise SettingError if the schedule fails or gives an unusable learning rate.

    The schedule is stepped through the whole run with dummy weights. The learning rate must stay
    between 0 and the largest float32.
    """
    where, name = "scheduler", parts.settings["scheduler"]["_target_"]
    epochs = int(parts.settings["trainer"]["max_epochs"])
    steps = steps_of(parts.settings["trainer"], parts.data)
    optimizer = stand_in_optimizer(parts.task)
    config = parts.task.make_schedule(optimizer)
    schedule, interval = config["scheduler"], config["interval"]
    optimizer.step()  # changes nothing without gradients; a schedule's step must come after one
    for count in range(min(steps if interval == "step" else epochs, SIMULATED_STEPS)):
        for lr in (group["lr"] for group in optimizer.param_groups):
            if not 0 <= lr <= LARGEST_FLOAT:
                raise SettingError(
                    where, name, f"sets the learning rate to {lr:g} at {interval} {count}"
                )
        try:
            schedule.step(0.0) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()
        except (ArithmeticError, ValueError, TypeError) as error:
            raise SettingError(where, name, f"fails at {interval} {count}: {error}") from error
