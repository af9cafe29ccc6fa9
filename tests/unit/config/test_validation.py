"""Settings are checked for their type and range where they are used."""

import math
from typing import Annotated, Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from tunebook.config.targets import KINDS, resolve
from tunebook.config.validation import (
    Count,
    Dropout,
    SettingError,
    format_value,
    instantiate,
    suggest,
    validate_args,
    validate_value,
)


class Thing:
    @validate_args
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        size: Count,
        rate: Dropout,
        kind: Literal["big", "small"],
    ) -> None:
        self.values = (image_shape, size, rate, kind)


@given(st.integers(1, 10**9))
def test_a_whole_float_is_an_integer(n: int) -> None:
    found = validate_value("n", float(n), Count)
    assert found == n
    assert isinstance(found, int)


@given(
    st.one_of(
        st.text(),
        st.booleans(),
        st.none(),
        st.floats().filter(lambda x: not x.is_integer()),
        st.integers(max_value=0),
    )
)
def test_nothing_else_is_a_count(value: object) -> None:
    with pytest.raises(SettingError, match=r"^n="):
        validate_value("n", value, Count)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_dropout_is_from_0_to_below_1(value: float) -> None:
    if 0 <= value < 1:
        assert validate_value("p", value, Dropout) == value
    else:
        with pytest.raises(SettingError):
            validate_value("p", value, Dropout)


@given(
    st.one_of(
        st.text(),
        st.lists(st.integers(), max_size=50),
        st.dictionaries(st.text(), st.text(), max_size=9),
    )
)
def test_an_error_is_always_one_line(value: object) -> None:
    assert "\n" not in str(SettingError("key", value, "no"))
    assert len(format_value(value)) <= 80


def test_whole_floats_in_a_list_are_integers() -> None:
    assert validate_value("key", [64.0, 1e2], list[int]) == [64, 100]
    assert repr(validate_value("key", [1.0, 2], list[float])) == "[1.0, 2.0]"
    with pytest.raises(SettingError, match=r"^key=\[64\.5\]"):
        validate_value("key", [64.5], list[int])


def test_a_list_serves_as_a_tuple() -> None:
    assert validate_value("shape", [1, 2, 3], tuple[int, int, int]) == (1, 2, 3)


def test_construct_names_the_path_and_passes_only_what_is_asked_for() -> None:
    settings = {"size": 3, "rate": 0.5, "kind": "big"}
    assert instantiate(Thing, settings, "thing", image_shape=(1, 2, 3), seed=4).values == (
        (1, 2, 3),
        3,
        0.5,
        "big",
    )
    for key, value, text in [
        ("size", 0, "thing.size=0: must be greater than or equal to 1"),
        ("kind", "bg", "thing.kind=bg: must be 'big' or 'small'. Did you mean 'big'?"),
        ("rat", 1, "thing.rat=1: no such setting. Did you mean 'rate'?"),
    ]:
        with pytest.raises(SettingError) as error:
            instantiate(Thing, settings | {key: value}, "thing", image_shape=(1, 2, 3))
        assert str(error.value) == text
    with pytest.raises(SettingError, match=r"^thing\.rate is required$"):
        instantiate(Thing, {"size": 1, "kind": "big"}, "thing", image_shape=(1, 2, 3))


def test_a_librarys_own_complaint_names_the_setting() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    with pytest.raises(SettingError, match=r"^optimizer\.rho=2\.0: Invalid rho value"):
        instantiate(torch.optim.Adadelta, {"lr": 1.0, "rho": 2.0}, "optimizer", params=parameters)
    with pytest.raises(SettingError, match=r"^model=.*-64.*: .*negative dimension -64"):
        instantiate(torch.nn.Linear, {"in_features": 8, "out_features": -64}, "model")


def test_nearest_says_nothing_where_nothing_is_near() -> None:
    assert suggest("xyzzy", ["filters", "kernel_size"]) == ""
    assert suggest("filtres", ["filters", "kernel_size"]) == " Did you mean 'filters'?"


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "numpy.load",
        "",
        None,
        3,
        "tunebook.networks.__class__",
        "a b.c",
    ],
)
def test_no_kind_takes_other_code(kind: str, target: Any) -> None:
    with pytest.raises(SettingError):
        resolve(target, kind, "there")


def test_what_is_refused_is_not_imported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError, match="never run from a config"):
        resolve("hostile.Network", "model", "model._target_")


def test_ranges_hold_in_python_too() -> None:
    with pytest.raises(SettingError, match=r"^rate=nan: must be a finite number$"):
        Thing((1, 2, 3), 1, math.nan, "big")


def test_an_annotated_range_of_a_library_holds() -> None:
    assert validate_value("x", 3, Annotated[int, Field(le=3)]) == 3
    with pytest.raises(SettingError):
        validate_value("x", 4, Annotated[int, Field(le=3)])
