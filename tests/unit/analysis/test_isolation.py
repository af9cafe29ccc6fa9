"""The best configuration for each value is found, with the interval of a bootstrap."""

import numpy as np
import pytest

from tests.helpers.studies import DROPOUT, FILTERS, LR, OPTIMIZER
from tunebook.analysis.isolation import BINS, best_by_value
from tunebook.analysis.results import Setting


def test_each_listed_value_has_its_best() -> None:
    rows = [{"model.filters": filters} for filters in (64, 16, 64, 16)]
    low, high = best_by_value(FILTERS, rows, [0.3, 0.1, 0.2, 0.4], "max")
    assert (low.text, low.left, low.value, low.members) == ("16", 0, 0.4, (1, 3))
    assert (high.text, high.left, high.value, high.members) == ("64", 1, 0.3, (0, 2))
    assert best_by_value(FILTERS, rows, [0.3, 0.1, 0.2, 0.4], "min")[0].value == 0.1


def test_a_range_has_bins_of_equal_width_on_its_scale() -> None:
    rng = np.random.default_rng(0)
    rows = [{"lr": float(10 ** rng.uniform(-4, -1))} for _ in range(200)]
    found = best_by_value(LR, rows, [row["lr"] for row in rows], "max")
    assert len(found) == BINS
    assert {round(one.right / one.left, 6) for one in found} == {round(1000 ** (1 / BINS), 6)}
    assert all(one.left <= one.value <= one.right for one in found)
    assert sum(len(one.members) for one in found) == 200
    few = best_by_value(DROPOUT, [{"model.dropout": x / 10} for x in range(7)], range(7), "max")
    assert len(few) == 2


def test_the_interval_is_that_of_a_bootstrap() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=12)
    rows = [{"optimizer": "adam"}] * 12
    (one,) = best_by_value(OPTIMIZER, rows, list(values), "max")
    draws = rng.choice(values, (20000, 12)).max(axis=1)
    assert one.low == pytest.approx(np.quantile(draws, 0.025))
    assert one.high == one.value == values.max()
    (least,) = best_by_value(OPTIMIZER, rows, list(-values), "min")
    assert (least.low, least.high) == (-one.high, -one.low)


def test_configurations_without_the_setting_are_left_out() -> None:
    setting = Setting("lr (optimizer=adam)", True, (), 0.0, 1.0)
    rows = [{setting.name: 0.1}, {}, {setting.name: 0.9}]
    found = best_by_value(setting, rows, [1.0, 9.0, 2.0], "max")
    assert [one.value for one in found] == [1.0, 2.0]
    assert best_by_value(setting, [{}], [1.0], "max") == ()
