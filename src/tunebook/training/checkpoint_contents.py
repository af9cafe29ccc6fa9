"""Check the content of a checkpoint, which is not trusted.

A digest proves that a file is complete, not that a run has written it. `require_state` checks what
does not depend on the run's settings. `require_fit`, in `tunebook.runs.compatibility`,
compares the rest with objects that were created from the settings. Both raise CheckpointError,
which names the invalid entry.
"""

import math
import re
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from tunebook.metrics.facts import ALWAYS, TRAIN, VALIDATION, full_name
from tunebook.metrics.running import SAVED_METRICS
from tunebook.training.checkpoint import CheckpointError, Content, is_plain_tensor
from tunebook.training.position import Position, write_progress

LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
OF_AN_EPOCH = {
    "epoch",
    "time/epoch_s",
    "speed/samples_per_s",
    *(full_name(split, metric) for split in (TRAIN, VALIDATION) for metric in ALWAYS),
}
LARGEST = 2**53  # limit of a count: a float represents all integers up to it
MAX_STEPS = 10**8  # of a run; a changed schedule is stepped through all of them
MAX_TEXT = 1 << 20
MAX_ITEMS = 1 << 20

Check = Callable[[Any], bool]


def is_count(value: object) -> bool:
    """Return whether a value is a non-negative integer below LARGEST."""
    return type(value) is int and 0 <= value < LARGEST


def _is_number(value: object) -> bool:
    return (type(value) is int and abs(value) < LARGEST) or isinstance(value, float)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _is_texts(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) < MAX_ITEMS
        and all(_is_text(key) and _is_text(item) for key, item in value.items())
    )


def _is_epoch(value: object) -> bool:
    if not isinstance(value, dict) or not set(value) >= OF_AN_EPOCH or len(value) > 100:
        return False
    names = all(isinstance(key, str) and re.fullmatch(r"[\w/ .-]{1,100}", key) for key in value)
    return names and is_count(value["epoch"]) and all(_is_number(item) for item in value.values())


def _is_running_metrics(value: object) -> bool:
    """Return whether a value looks like what `EpochMetrics.saved` returns."""
    if (
        not isinstance(value, dict)
        or set(value) != {"updates", "loss_sum", "correct", "samples"}
        or not is_count(value["updates"])
    ):
        return False
    sums = [value[key] for key in ("loss_sum", "correct", "samples")]
    return all(
        is_plain_tensor(item) and item.shape == () and not item.is_complex() for item in sums
    )


def _list_of(check: Check) -> Check:
    return lambda value: (
        isinstance(value, list) and len(value) < MAX_ITEMS and all(check(item) for item in value)
    )


REQUIRED: dict[str, Check] = {
    "epoch": is_count,
    "global_step": is_count,
    "loops": lambda value: isinstance(value, dict),
    "optimizer_states": lambda value: isinstance(value, list) and len(value) == 1,
    "lr_schedulers": lambda value: isinstance(value, list) and len(value) == 1,
    SAVED_METRICS: _list_of(_is_running_metrics),
    "callbacks.EpochLogger.history": _list_of(_is_epoch),
    "callbacks.EpochLogger.epoch_s": _is_number,
    "callbacks.EpochLogger.fit_s": _is_number,
    "callbacks.CheckpointCallback.best_score": lambda value: value is None or _is_number(value),
    "callbacks.PruningCallback.pruned_at_epoch": is_count,
    "tunebook.overrides": _list_of(_is_text),
    "tunebook.config": _is_text,
    "tunebook.settings": _is_texts,
    "tunebook.environment.precision": lambda value: value in PRECISIONS,
    "tunebook.environment.threads": is_count,
    "tunebook.versions": _is_texts,
    "tunebook.data": _is_texts,
    "tunebook.position.epoch": is_count,
    "tunebook.position.batch": is_count,
    "tunebook.position.batches": lambda value: is_count(value) and value > 0,
}
OPTIONAL: dict[str, Check] = {
    "tunebook.trained": lambda value: isinstance(value, bool),
    "tunebook.weights": _is_text,
    "tunebook.position.accumulated": lambda value: is_count(value) and value > 0,
}
# The last two are what Lightning adds for some precisions.
KEPT = (
    "epoch", "global_step", "state_dict", "loops", "callbacks", "optimizer_states",
    "lr_schedulers", "tunebook", SAVED_METRICS, "MixedPrecision", "MixedPrecisionPlugin",
)  # fmt: skip


def _find(content: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(content, dict) or key not in content:
            raise KeyError(path)
        content = content[key]
    return content


def require_state(content: Content, name: str) -> None:
    """Raise CheckpointError unless the content is the state of a run.

    Entries that a run doesn't need are deleted, and the loops' counters are written again.
    """
    for path, fits in [*REQUIRED.items(), *OPTIONAL.items()]:
        try:
            found = _find(content, path)
        except KeyError:
            if path in OPTIONAL:
                continue
            raise CheckpointError(
                f"{name}: contains weights, but not the state of a run ({path} is missing)"
            ) from None
        if not fits(found):
            raise CheckpointError(f"{name}: its {path} has unexpected content")
    _require_order(content, name)
    if bad := _not_finite(content["state_dict"], "state_dict", infinite_too=True):
        raise CheckpointError(f"{name}: its {bad} contains a value that is not a finite number")
    if bad := _not_finite(
        [content["optimizer_states"], content["lr_schedulers"]],
        "optimizer and schedule",
        infinite_too=False,
    ):
        raise CheckpointError(f"{name}: its {bad} contains a value that is not a number")
    for key in set(content) - set(KEPT):
        del content[key]
    # The content that was checked needs none of Lightning's conversions from older versions.
    content["pytorch-lightning_version"] = version("pytorch_lightning")
    _require_loops(content, name)


def _require_order(content: Content, name: str) -> None:
    position, history = Position.of(content), content["callbacks"]["EpochLogger"]["history"]
    epochs = [epoch["epoch"] for epoch in history]
    in_order = epochs == list(range(1, len(epochs) + 1)) and len(epochs) == position.epoch
    is_possible = position.batch <= position.batches and position.is_between_steps
    if not in_order or not is_possible or position.step > MAX_STEPS:
        raise CheckpointError(f"{name}: its epochs and its position contradict each other")
    if content["tunebook"].get("trained") and not epochs:
        raise CheckpointError(f"{name}: it is marked as trained, but has no epoch")


def _require_loops(content: Content, name: str) -> None:
    """Write the loops' counters from the position.

    Before that, raise CheckpointError if their structure differs from that of a new Trainer.
    """
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    template = {loop: getattr(trainer, loop).state_dict() for loop in LOOPS}
    loops = content["loops"]
    for inner in [item for item in loops.values() if isinstance(item, dict)]:
        for key in [
            key
            for key in inner
            if isinstance(key, str) and key.endswith("state_dict") and isinstance(inner[key], dict)
        ]:
            inner[key].pop("combined_loader", None)  # written from the position
    if problem := misfit(template, loops, "loops"):
        raise CheckpointError(f"{name}: {problem}")
    write_progress(content, Position.of(content))


def _not_finite(value: Any, where: str, infinite_too: bool, depth: int = 0) -> str:
    """Return where a value contains NaN or is nested too deeply; "" if neither is the case.

    infinite_too: whether infinity in a tensor counts as well.
    """
    if depth > 20:
        return where
    if isinstance(value, Tensor):
        if not is_plain_tensor(value):
            return where
        bad = value.is_floating_point() and bool(
            (~torch.isfinite(value) if infinite_too else torch.isnan(value)).any()
        )
        return where if bad else ""
    if isinstance(value, float):
        return where if math.isnan(value) else ""
    items: Iterable[Any] = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    for key, item in items:
        if found := _not_finite(
            item, f"{where}.{key}" if isinstance(value, dict) else where, infinite_too, depth + 1
        ):
            return found
    return ""


def misfit(template: Any, value: Any, where: str) -> str:
    """Return how a value differs in structure from a template, or "" if it fits.

    The template consists of plain values and tensors. Where it has a non-negative integer, the
    value must not be negative either. Integers and floats can replace each other. None, text and
    any number fit where it has None.
    """
    if isinstance(template, dict):
        if not isinstance(value, dict):
            return f"{where} has unexpected content"
        if different := set(template) ^ set(value):
            names = sorted(" ".join(repr(key).split())[:30] for key in different)
            return f"{where} has unexpected or missing entries ({', '.join(names[:3])})"
        found = (misfit(item, value.get(key), f"{where}.{key}") for key, item in template.items())
        return next(filter(None, found), "")
    if isinstance(template, Tensor):
        fits = (
            isinstance(value, Tensor)
            and value.shape == template.shape
            and value.dtype == template.dtype
        )
    elif isinstance(template, list | tuple):
        same = type(value) is type(template) and len(value) == len(template)
        if not same:
            return f"{where} has the wrong length"
        return next(
            filter(None, (misfit(a, b, where) for a, b in zip(template, value, strict=True))), ""
        )
    elif isinstance(template, bool):
        fits = isinstance(value, bool)
    elif isinstance(template, int | float):
        fits = _is_number(value) and not (isinstance(template, int) and template >= 0 and value < 0)
    elif isinstance(template, str):
        fits = bool(value == template)
    elif template is None:
        fits = value is None or isinstance(value, str | int | float)
    else:
        fits = type(value) is type(template)
    return "" if fits else f"{where} has unexpected content"
