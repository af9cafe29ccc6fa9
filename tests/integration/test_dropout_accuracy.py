"""Networks learn as well with the fast masks of dropout as with torch's own."""

import statistics
from pathlib import Path

import pytest
from scipy.stats import t
from torch import nn

import tunebook
from tests.helpers.runs import with_store
from tunebook.runs import make_network

PAIRS = 20
LEARNS = (
    "data=digits", "trainer=cpu", "trainer.max_epochs=15", "optimizer=adam", "optimizer.lr=0.005",
    "model.filters=8", "model.dense_dropout=0.5", "tracking.save_model=false",
    "tracking.save_pictures=false", "tracking.system_metrics=false",
)  # fmt: skip


@pytest.mark.slow
def test_accuracy_over_paired_seeds_is_that_of_torchs_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(seed: int) -> float:
        run = tunebook.train(*LEARNS, f"seed={seed}", *with_store(tmp_path))
        return 100 * run.metrics["test/acc"]

    def with_torchs(network: nn.Module) -> nn.Module:
        assert any(type(module) is nn.Dropout for module in network.modules())
        return network

    fast = [trained(seed) for seed in range(1, PAIRS + 1)]
    monkeypatch.setattr(make_network, "with_fast_dropout", with_torchs)
    torchs = [trained(seed) for seed in range(1, PAIRS + 1)]
    differences = [ours - theirs for ours, theirs in zip(fast, torchs, strict=True)]
    mean, sd = statistics.mean(differences), statistics.stdev(differences)
    half = t.ppf(0.975, PAIRS - 1) * sd / PAIRS**0.5
    with capsys.disabled():
        print(f"\nfast minus torch's dropout: {mean:+.2f} +- {half:.2f} points, n = {PAIRS}")
    assert statistics.mean(torchs) > 90  # both learn
    assert abs(mean) < half + 0.3
    assert any(differences)  # the masks are others
