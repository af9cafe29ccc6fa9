"""Make synthetic studies with planted effects and noise, whose truth is known."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tunebook.analysis.results import Results, Run, Setting, Value

Truth = Callable[[Mapping[str, Value]], float]
OPTIMIZER = Setting("optimizer", False, ("adadelta", "adam", "sgd"))
LR = Setting("lr", True, (), 1e-4, 1e-1, True)
DROPOUT = Setting("model.dropout", True, (), 0.0, 0.7)
FILTERS = Setting("model.filters", True, (16, 32, 64), 16, 64, True)
AUGMENTATION = Setting("augmentation", False, ("affine", "none"))
BATCH = Setting("data.batch_size", True, (64, 128, 256), 64, 256, True)
ALL = (OPTIMIZER, LR, DROPOUT, FILTERS, AUGMENTATION, BATCH)


def place(setting: Setting, value: Value) -> float:
    """Return where a value lies on its setting's scale, from 0 to 1.

    Categories lie in their order.
    """
    if not setting.is_number:
        return setting.values.index(value) / (len(setting.values) - 1)
    assert isinstance(value, int | float)
    if setting.log:
        return math.log(value / setting.low) / math.log(setting.high / setting.low)
    return (value - setting.low) / (setting.high - setting.low)


def drawn(setting: Setting, rng: np.random.Generator) -> Value:
    """Draw a value uniformly on the setting's scale."""
    if setting.values:
        return setting.values[int(rng.integers(len(setting.values)))]
    at = float(rng.random())
    return (
        setting.low * (setting.high / setting.low) ** at
        if setting.log
        else setting.low + at * (setting.high - setting.low)
    )


def study(
    settings: tuple[Setting, ...],
    truth: Truth,
    *,
    noise: float,
    rng: np.random.Generator,
    configurations: int = 60,
    seeds: int = 1,
) -> Results:
    """Return a study of independently drawn configurations, each with `seeds` seeds.

    noise: the standard deviation between seeds.
    """
    runs: list[Run] = []
    for _ in range(configurations):
        values = {setting.name: drawn(setting, rng) for setting in settings}
        for seed in range(seeds):
            objective = truth(values) + float(rng.normal(0.0, noise))
            runs.append(
                Run(
                    f"r{len(runs)}",
                    f"r{len(runs)}",
                    values,
                    seed,
                    "complete",
                    objective,
                    seconds=10.0,
                )
            )
    return Results("study", "val/acc", "max", settings, tuple(runs))


def with_tail(results: Results, share: float, rng: np.random.Generator) -> Results:
    """Return the study with a share of its runs at chance level, whatever their settings.

    They stand for networks that did not start to learn.
    """
    runs = [replace(run, objective=0.1) if rng.random() < share else run for run in results.runs]
    return replace(results, runs=tuple(runs))


@dataclass(frozen=True)
class Plan:
    """Plan which settings have an effect.

    shapes: name -> (setting, size, centre of a peak or None, whether it goes downwards).
    Settings that are not in it have no effect.
    """

    shapes: Mapping[str, tuple[Setting, float, float | None, bool]]
    noise: frozenset[str] = frozenset()

    @property
    def planted(self) -> set[str]:
        return set(self.shapes)

    @property
    def peaks(self) -> set[str]:
        return {name for name, (_, _, centre, _) in self.shapes.items() if centre is not None}

    @property
    def ends(self) -> dict[str, bool]:
        """Return the monotonic numeric settings, each with whether its upper end is best."""
        return {
            name: not down
            for name, (setting, _, centre, down) in self.shapes.items()
            if setting.is_number and centre is None
        }

    def truth(self, values: Mapping[str, Value]) -> float:
        """Return the mean over seeds."""
        total = 0.97
        for name, (setting, size, centre, down) in self.shapes.items():
            at = place(setting, values[name])
            if centre is None:
                total += size * (1 - at if down else at)
            else:
                total -= size * ((at - centre) / max(centre, 1 - centre)) ** 2
        return total


def planted(settings: tuple[Setting, ...], noise: float, rng: np.random.Generator) -> Plan:
    """Plan effects for about half of the settings.

    Each effect is two to six times the seed noise, along the range or as a peak inside it.
    """
    shapes: dict[str, tuple[Setting, float, float | None, bool]] = {}
    for setting in settings:
        if rng.random() < 0.5:
            peak = setting.is_number and not setting.values and rng.random() < 0.5
            centre = float(rng.uniform(0.3, 0.7)) if peak else None
            shapes[setting.name] = (
                setting,
                noise * float(rng.uniform(2, 6)),
                centre,
                bool(rng.random() < 0.5),
            )
    return Plan(shapes, frozenset(setting.name for setting in settings) - shapes.keys())
