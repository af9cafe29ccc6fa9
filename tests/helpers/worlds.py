"""Simulate studies of image classifiers as they are in practice, whose truth is known.

A world is one such task: three optimizers with a learning rate each, whose optimum is inside its
range or at an end; filters that saturate; dropout that is best in between; a best learning rate
that depends on the batch size; an augmentation that helps with one schedule and harms with the
other; two settings without any effect. The error is the product of these effects. Bad learning
rates are noisier, high ones fail, 5 % of the runs stay at chance level, and 1 % of the images
can't be classified. What helps in the first epochs can harm in the last.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from tests.helpers.studies import drawn, place
from tunebook.analysis.results import Results, Run, Setting, Value

OPTIMIZERS = ("adadelta", "adam", "sgd")
RANGES = {"adadelta": (0.03, 3.0), "adam": (1e-4, 1e-2), "sgd": (3e-3, 0.3)}
OPTIMIZER = Setting("optimizer", False, OPTIMIZERS)
RATES = {
    name: Setting(f"optimizer.lr (optimizer={name})", True, (), *RANGES[name], True)
    for name in OPTIMIZERS
}
FILTERS = Setting("model.filters", True, (8, 16, 32, 64), 8, 64, True)
DROPOUT = Setting("model.dropout", True, (), 0.0, 0.7)
BATCH = Setting("data.batch_size", True, (32, 64, 128, 256), 32, 256, True)
AUGMENTATION = Setting("augmentation", False, ("none", "shift"))
SCHEDULE = Setting("schedule", False, ("constant", "cosine"))
NOISE_NUMBER = Setting("optimizer.eps", True, (), 1e-9, 1e-5, True)
NOISE_CHOICE = Setting("model.padding", False, ("reflect", "same", "valid"))
SETTINGS = (
    OPTIMIZER,
    *RATES.values(),
    FILTERS,
    DROPOUT,
    BATCH,
    AUGMENTATION,
    SCHEDULE,
    NOISE_NUMBER,
    NOISE_CHOICE,
)
NOISE = {NOISE_NUMBER.name, NOISE_CHOICE.name}
CHANCE, FLOOR, STUCK = 0.1, 0.01, 0.05  # accuracy, error and share of runs
Values = Mapping[str, Value]


@dataclass(frozen=True)
class World:
    """Hold the parameters of one task. Effects are in decimal orders of magnitude of the error.

    best: optimizer -> the position of its best learning rate in the range, 0 to 1, or beyond.
    """

    offsets: Mapping[str, float]
    best: Mapping[str, float]
    curvature: float
    ridge: float
    filters: float
    dropout: float
    best_dropout: float
    joint: float
    noise: float
    level: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "World":
        """Return a random world."""
        best = {
            name: float(rng.uniform(0.25, 0.75) if rng.random() < 0.8 else rng.choice([0.0, 1.0]))
            for name in OPTIMIZERS
        }
        return cls(
            {name: float(rng.normal(0, 0.04)) for name in OPTIMIZERS},
            best,
            curvature=float(rng.uniform(1.0, 2.0)),
            ridge=float(rng.uniform(0.35, 0.6)),
            filters=float(rng.uniform(0.2, 0.35)),
            dropout=float(rng.uniform(0.5, 0.9)),
            best_dropout=float(rng.uniform(0.35, 0.65)),
            joint=float(rng.uniform(0.03, 0.06)),
            noise=float(rng.uniform(0.03, 0.06)),
            level=float(rng.uniform(-1.8, -1.2)),
        )

    def misplaced(self, values: Values) -> float:
        """Return how far the learning rate is above the best one for this batch size."""
        name = str(values["optimizer"])
        at = place(RATES[name], values[RATES[name].name])
        return at - self.best[name] - self.ridge * (place(BATCH, values[BATCH.name]) - 0.5)

    def log_error(self, values: Values) -> float:
        """Return the decimal logarithm of the error that can be avoided, without noise."""
        return self.level + sum(self.parts(values).values())

    def parts(self, values: Values) -> dict[str, float]:
        """Return the effects on the logarithm of the error."""
        both = (values[AUGMENTATION.name] == "shift") == (values[SCHEDULE.name] == "cosine")
        return {
            "optimizer": self.offsets[str(values["optimizer"])],
            "lr": min(0.8, self.curvature * self.misplaced(values) ** 2),
            "filters": self.filters * math.exp(-3 * place(FILTERS, values[FILTERS.name])),
            "dropout": self.dropout
            * (place(DROPOUT, values[DROPOUT.name]) - self.best_dropout) ** 2,
            "joint": -self.joint if both else self.joint,
        }

    def accuracy(self, values: Values) -> float:
        """Return the accuracy that a run reaches on average, unless it fails."""
        return 1 - FLOOR - 10.0 ** self.log_error(values)

    def run(
        self, values: Values, seed: int, rng: np.random.Generator, epochs: int = 18
    ) -> tuple[str, list[float]]:
        """Return the state of a run, and its accuracy after each epoch."""
        high = self.misplaced(values)
        if rng.random() < 0.5 / (1 + math.exp(-(high - 0.55) / 0.05)):
            return "diverged", []
        if rng.random() < STUCK or rng.random() < 0.5 / (1 + math.exp(-(high - 0.5) / 0.05)):
            return "complete", [CHANCE + float(rng.uniform(0, 0.01)) for _ in range(epochs)]
        spread = self.noise * (1 + 3 * abs(high))
        end = self.log_error(values) + float(rng.normal(0, spread))
        curve: list[float] = []
        for epoch in range(1, epochs + 1):
            left = 1 - (epoch - 1) / (epochs - 1)
            slow = 0.6 + 0.3 * place(FILTERS, values[FILTERS.name])
            slow += 0.5 * place(DROPOUT, values[DROPOUT.name]) - 0.5 * high
            error = 10.0 ** (end + left * slow * 0.8 + left * float(rng.normal(0, self.noise)))
            curve.append(max(CHANCE, 1 - FLOOR - error))
        return "complete", curve


def drawn_values(rng: np.random.Generator) -> dict[str, Value]:
    """Return random values of all settings that apply together."""
    values = {setting.name: drawn(setting, rng) for setting in SETTINGS}
    return applying(values)


def applying(values: Values) -> dict[str, Value]:
    """Return the values without the learning rates of the other optimizers."""
    others = {RATES[name].name for name in OPTIMIZERS if name != values["optimizer"]}
    return {name: value for name, value in values.items() if name not in others}


def suggested(trial: optuna.Trial) -> dict[str, Value]:
    """Return the values that an Optuna sampler suggests."""
    name = trial.suggest_categorical("optimizer", OPTIMIZERS)
    values: dict[str, Value] = {"optimizer": name}
    for setting in SETTINGS[1:]:
        if setting.name in {RATES[other].name for other in OPTIMIZERS if other != name}:
            continue
        if setting.values:
            values[setting.name] = trial.suggest_categorical(setting.name, setting.values)
        else:
            values[setting.name] = trial.suggest_float(
                setting.name, setting.low, setting.high, log=setting.log
            )
    return values


def random_study(world: World, rng: np.random.Generator, trials: int, seeds: int = 1) -> Results:
    """Return a study of random configurations with this many seeds each."""
    runs: list[Run] = []
    for _ in range(trials):
        values = drawn_values(rng)
        for seed in range(seeds):
            state, curve = world.run(values, seed, rng)
            runs.append(_run(len(runs), values, seed, state, curve))
    return results(runs)


def optuna_study(
    world: World,
    rng: np.random.Generator,
    trials: int,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
    *,
    adaptive: bool,
) -> Results:
    """Return a study whose configurations an Optuna sampler chooses, and a pruner ends early."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    runs: list[Run] = []
    for _ in range(trials):
        trial = study.ask()
        values = suggested(trial)
        state, curve = world.run(values, 0, rng)
        if state == "diverged":
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            runs.append(_run(len(runs), values, 0, state, curve))
            continue
        for epoch, value in enumerate(curve, 1):
            trial.report(value, epoch)
            if trial.should_prune():
                state, curve = "pruned", curve[:epoch]
                break
        pruned = state == "pruned"
        told = optuna.trial.TrialState.PRUNED if pruned else None
        study.tell(trial, None if pruned else max(curve), state=told)
        runs.append(_run(len(runs), values, 0, state, curve))
    return results(runs, adaptive)


def tpe(world: World, rng: np.random.Generator, trials: int, *, pruned: bool = False) -> Results:
    """Return a study by TPE, with the median pruner or without pruning."""
    sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)))
    pruner = optuna.pruners.MedianPruner(n_warmup_steps=2) if pruned else optuna.pruners.NopPruner()
    return optuna_study(world, rng, trials, sampler, pruner, adaptive=True)


def asha(world: World, rng: np.random.Generator, trials: int) -> Results:
    """Return a study by random search with asynchronous successive halving."""
    sampler = optuna.samplers.RandomSampler(seed=int(rng.integers(2**31)))
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    return optuna_study(world, rng, trials, sampler, pruner, adaptive=False)


def results(runs: Sequence[Run], adaptive: bool = False) -> Results:
    """Return these runs as the results of a study with ten classes."""
    return Results("study", "val/acc", "max", SETTINGS, tuple(runs), adaptive, classes=10)


def _run(number: int, values: Values, seed: int, state: str, curve: Sequence[float]) -> Run:
    name = f"r{number}"
    objective = max(curve) if curve else None
    points = tuple(enumerate(curve, 1))
    return Run(name, name, values, seed, state, objective, points, seconds=float(len(curve)))


Kind = Callable[[World, np.random.Generator], Results]
KINDS: Mapping[str, Kind] = {
    "random 60": lambda world, rng: random_study(world, rng, 60),
    "random 120": lambda world, rng: random_study(world, rng, 120),
    "random 60 x 3": lambda world, rng: random_study(world, rng, 60, 3),
    "random 27 x 3": lambda world, rng: random_study(world, rng, 27, 3),
    "TPE 60": lambda world, rng: tpe(world, rng, 60),
    "TPE 60, median pruner": lambda world, rng: tpe(world, rng, 60, pruned=True),
    "ASHA 81": lambda world, rng: asha(world, rng, 81),
}
