"""The fast dropout is torch's dropout, but for which values it drops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tunebook.networks.dropout import Dropout, random_mask, with_fast_dropout

MANY = 400_000
probabilities = st.one_of(
    st.sampled_from([0.1, 0.25, 0.5, 0.75, 1 / 3, 2**-16, 1 - 2**-16, 1e-4]),
    st.floats(0.001, 0.999),
)


@settings(max_examples=60, deadline=None)
@given(probabilities, st.integers(0, 2**32 - 1))
def test_each_value_is_dropped_with_the_probability(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    keep, share = random_mask(torch.empty(MANY), p)
    assert share == pytest.approx(1 - p, abs=2**-33)
    deviation = (p * (1 - p) / MANY) ** 0.5
    assert abs(float(keep.double().mean()) - (1 - p)) < 5.5 * deviation


@settings(max_examples=20, deadline=None)
@given(probabilities, st.sampled_from([1, 2, 3, 4, 7, 8]), st.integers(0, 2**32 - 1))
def test_neighbours_are_independent(p: float, distance: int, seed: int) -> None:
    """Also those that are cut out of the same random word."""
    torch.manual_seed(seed)
    dropped = (~random_mask(torch.empty(MANY), p)[0]).double()
    together = dropped[distance:] * dropped[:-distance]
    deviation = (p**2 * (1 - p**2) / len(together)) ** 0.5 * 1.5  # neighbouring pairs share a value
    assert abs(float(together.mean()) - p**2) < 6 * deviation + 1e-6


@settings(max_examples=100, deadline=None)
@given(
    probabilities,
    st.lists(st.integers(0, 7), max_size=4),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_values_are_dropped_or_scaled_and_so_are_gradients(
    p: float, shape: list[int], kind: torch.dtype
) -> None:
    values = torch.rand(shape, dtype=torch.float64).add(0.5).to(kind).requires_grad_()
    found = Dropout(p)(values)
    assert found.shape == values.shape
    assert found.dtype == kind
    kept = found != 0
    # In float16, a large factor gives infinity.
    scaled = (values.detach().double() / (1 - p)).to(kind).double()
    share_error = 0 if (p * 2**32).is_integer() else 2**-33 / (1 - p)
    close = torch.isclose(found.double(), scaled, rtol=2 * torch.finfo(kind).eps + share_error)
    assert bool((close | ~kept).all())
    found.sum().backward()
    assert values.grad is not None
    assert bool(((values.grad != 0) == kept).all())


def test_the_memory_format_is_kept() -> None:
    values = torch.rand(8, 16, 5, 5).contiguous(memory_format=torch.channels_last)
    found = Dropout(0.5)(values)
    assert found.is_contiguous(memory_format=torch.channels_last)
    parts = values[:, ::2, 1:]  # neither format
    dropped = Dropout(0.5)(parts)
    assert bool(((dropped == 0) | (dropped == 2 * parts)).all())
    assert 0.4 < float((dropped == 0).double().mean()) < 0.6


def test_the_same_seed_drops_the_same_values() -> None:
    values = torch.ones(3, 5, 7)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(Dropout(0.4)(values))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_bounds_are_those_of_torch(p: float) -> None:
    values = torch.rand(10)
    assert torch.equal(Dropout(p)(values), nn.Dropout(p)(values))
    assert torch.equal(Dropout(0.5).eval()(values), values)


def test_in_place_changes_the_values_themselves() -> None:
    values = torch.ones(1000)
    found = Dropout(0.5, inplace=True)(values)
    assert found is values
    assert set(found.tolist()) == {0.0, 2.0}


def test_it_takes_the_place_of_torchs_dropout_alone() -> None:
    class Own(nn.Dropout):
        """Count as a class of the user's own."""

    shared = nn.Dropout(0.3)
    network = nn.Sequential(
        nn.Linear(2, 2), shared, nn.Sequential(nn.Dropout(0.1, inplace=True), Own(0.2)), shared
    ).eval()
    names = list(network.state_dict())
    found = with_fast_dropout(network)
    kinds = [type(module) for module in found.modules() if isinstance(module, nn.Dropout)]
    assert kinds.count(Dropout) >= 2
    assert kinds.count(Own) == 1
    assert nn.Dropout not in kinds
    assert [module.p for module in (found[1], found[2][0], found[3])] == [0.3, 0.1, 0.3]
    assert found[2][0].inplace
    assert not any(module.training for module in found.modules())
    assert list(found.state_dict()) == names
    assert isinstance(with_fast_dropout(nn.Dropout(0.5)), Dropout)


def test_a_network_on_the_meta_device_is_only_described() -> None:
    with torch.device("meta"):
        found = Dropout(0.3)(torch.empty(4, 5))
    assert found.device.type == "meta"
    assert found.shape == (4, 5)


def test_a_factor_that_a_type_can_not_hold_leaves_zeros() -> None:
    values = torch.ones(1000, dtype=torch.float16, requires_grad=True)
    found = Dropout(1 - 2**-16)(values)
    assert not found.isnan().any()
    found.sum().backward()
    assert values.grad is not None
    assert not values.grad.isnan().any()
