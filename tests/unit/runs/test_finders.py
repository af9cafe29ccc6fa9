"""What is suggested follows from the losses and the times, whatever noise there is."""

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunebook.runs.finders.batch_size import Speed, speeds_of, suggestion
from tunebook.runs.finders.learning_rate import (
    HIGHEST,
    LOWEST,
    SKIPPED,
    STEPS,
    LossCurve,
    RisingRate,
)

RATES = np.geomspace(LOWEST, HIGHEST, STEPS)


@given(st.floats(-4.0, -0.5), st.integers(0, 2**32 - 1))
def test_the_rate_is_where_a_noisy_loss_falls_fastest(exponent: float, seed: int) -> None:
    fall = 2.3 / (1 + np.exp(6 * (np.log10(RATES) - exponent)))
    losses = 0.2 + fall + np.random.default_rng(seed).normal(0, 0.02, STEPS)
    found = LossCurve(RATES, losses).suggestion()
    assert found is not None
    assert abs(np.log10(found) - exponent) < 0.4


def test_a_loss_that_only_rises_suggests_nothing() -> None:
    for losses in (np.linspace(1, 2, STEPS), np.ones(STEPS), np.ones(1)):
        assert LossCurve(RATES[: len(losses)], losses).suggestion() is None


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 10))
def test_noise_suggests_nothing(seed: int, deviation: float) -> None:
    losses = 2.3 + np.random.default_rng(seed).normal(0, deviation, STEPS)
    losses[100:] += np.linspace(0, 20 * deviation, STEPS - 100)  # it diverges in the end
    assert LossCurve(RATES, losses).suggestion() is None


def test_a_curve_that_ends_early_is_drawn() -> None:
    for length in (1, 2, SKIPPED + 2):
        figure = LossCurve(RATES[:length], np.linspace(2, 1, length)).draw()
        assert figure.axes[0].get_xlabel() == "learning rate"


def test_steps_before_an_evaluation_and_rests_of_an_epoch_are_not_timed() -> None:
    starts = [(8, 0.0), (8, 9.0), (8, 10.0), (3, 11.0), None, None, (16, 90.0), (16, 91.0), None]
    assert speeds_of(starts) == [Speed(8, 8.0), Speed(16, 16.0)]


@pytest.mark.parametrize(
    ("speeds", "best"), [((100, 200, 205), 16), ((100, 200, 300), 32), ((300, 200, 100), 8)]
)
def test_the_smallest_of_nearly_equal_sizes_is_suggested(
    speeds: tuple[int, ...], best: int
) -> None:
    found = suggestion([Speed(8 * 2**n, speed) for n, speed in enumerate(speeds)])
    assert found.batch_size == best


class TwoGroups(pl.LightningModule):
    """Train two weights, the first with a hundredth of the rate, and note the rates."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
        self.rates: list[tuple[float, ...]] = []

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return (batch * (self.slow + self.fast) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": [self.slow], "lr_factor": 0.01},
            {"params": [self.fast]},
        ]
        return torch.optim.SGD(groups, lr=1.0)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append(tuple(group["lr"] for group in optimizer.param_groups))


@pytest.mark.parametrize("accumulated", [1, 3])
def test_each_step_has_its_rate_and_each_group_its_factor(accumulated: int) -> None:
    module, rising = TwoGroups(), RisingRate()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1000, accumulate_grad_batches=accumulated,
        callbacks=[rising], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.ones(12, 1)))
    assert len(rising.losses) == len(rising.rates) == len(module.rates) == STEPS
    for step, (slow, fast) in enumerate(module.rates):
        assert fast == pytest.approx(RATES[step])
        assert slow == pytest.approx(fast / 100)
