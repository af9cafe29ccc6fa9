"""Suggest a learning rate: train some steps while it rises, and see where the loss falls.

Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017. Lightning's finder is not
used: it sets the same rate for all groups of parameters, averages the losses so that they lag
behind by dozens of steps, and suggests by the slope against the rate instead of its logarithm, by
which the smallest rates win.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from tunebook.config.validation import InputError
from tunebook.runs.assemble import RunComponents
from tunebook.runs.finders.outcome import Outcome
from tunebook.task import NonFiniteLoss

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 140  # 20 for each factor of ten
SKIPPED = 5  # losses at the start, which are not considered
SMOOTHED = 4.0  # steps; the standard deviation of the Gaussian that smooths the losses
CLEAR = 5.0  # standard errors of the difference; a smaller fall may be noise
DIVERGED = 4.0  # times the first loss; more ends the search

Floats = npt.NDArray[np.float64]


def find_learning_rate(
    parts: RunComponents, trainer: pl.Trainer, rising: "RisingRate", outcome: Outcome
) -> None:
    """Train some steps while the learning rate rises, and suggest where the loss falls fastest.

    rising: a callback of the trainer. Raises InputError if the loss never falls, or if the first
    one is not finite.
    """
    trainer.limit_val_batches = 0
    try:
        trainer.fit(parts.task, datamodule=parts.data)
    except NonFiniteLoss as error:  # the rate has become too high
        if not rising.losses:
            text = "find=lr: the loss of the first step is not finite, whatever the learning rate"
            raise InputError(text) from error
    curve = LossCurve(np.array(rising.rates[: len(rising.losses)]), np.array(rising.losses))
    rows = zip(curve.rates.tolist(), curve.losses.tolist(), strict=True)
    outcome.save("learning_rates", curve.draw(), ("lr", "loss"), rows)
    suggested = curve.suggestion()
    if suggested is None:
        raise InputError(
            "find=lr: the training loss falls at no learning rate by more than its noise; "
            "a larger data.batch_size has less noise"
        )
    outcome.suggest("optimizer.lr", f"{suggested:g}", "the training loss falls fastest there")


class RisingRate(pl.Callback):
    """Raise the learning rate with each step, whatever the schedule, and note the losses.

    The rate rises from LOWEST to HIGHEST by the same factor each time. A group of parameters gets
    its own multiple, as in a run. Training ends after STEPS steps, or once the loss has diverged.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []  # of the last batch of each step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate of the step."""
        step = trainer.global_step
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        if step == len(self.rates):
            self.rates.append(rate)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the loss once the step is done."""
        if trainer.global_step == len(self.losses):
            return  # gradients are still being accumulated
        self.losses.append(float(outputs["loss"]))
        diverged = self.losses[-1] > DIVERGED * self.losses[0]
        trainer.should_stop = diverged or len(self.losses) == STEPS


@dataclass(frozen=True)
class LossCurve:
    """Hold the training losses of single steps while the learning rate rises: (N,) each."""

    rates: Floats
    losses: Floats

    def smoothed(self) -> Floats:
        """Return the losses, smoothed without a lag."""
        return np.asarray(gaussian_filter1d(self.losses, SMOOTHED, mode="nearest"))

    def suggestion(self) -> float | None:
        """Return the rate, to two digits, at which the smoothed loss falls fastest.

        Only rates below that of the lowest loss count. None if the loss falls nowhere by more than
        its noise.
        """
        smoothed = self.smoothed()
        lowest = int(smoothed.argmin())
        if lowest <= SKIPPED:
            return None
        # Against the logarithm, by which each step is as large as the next.
        slopes = np.gradient(smoothed, np.log(self.rates))[SKIPPED:lowest]
        steepest = SKIPPED + int(slopes.argmin())
        before, after = self.losses[:steepest], self.losses[steepest : lowest + 1]
        noise = (self.losses - smoothed)[: lowest + 1].std()
        error = noise * math.sqrt(1 / len(before) + 1 / len(after))
        if before.mean() - after.mean() <= CLEAR * error:
            return None
        return float(f"{self.rates[steepest]:.1e}")

    def draw(self) -> Figure:
        """Draw the losses, the smoothed losses and the suggested rate."""
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes: Any = figure.subplots()
        smoothed, suggested = self.smoothed(), self.suggestion()
        axes.plot(self.rates, self.losses, ".", color="0.7", label="one step")
        axes.plot(self.rates, smoothed, color="C0", label="smoothed")
        if suggested is not None:
            axes.axvline(suggested, color="C3", linestyle="--", label=f"suggested: {suggested:g}")
        start, low = float(smoothed[0]), float(self.losses.min())
        room = max(start - low, 0.1 * abs(start), 1e-6)
        axes.set_ylim(low - 0.1 * room, start + room)  # a diverging loss would hide the rest
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        axes.set_title("training loss while the learning rate rises")
        axes.grid(alpha=0.3)
        axes.legend()
        return figure
