"""The notebook's network and optimizer follow the papers' formulas.

Further tests say what every network must do.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tunebook.config.compose import with_choices
from tunebook.config.run_config import plain
from tunebook.config.validation import SettingError
from tunebook.networks import MLP, BatchNormCNN, KerasCNN, LeNet
from tunebook.runs.assemble import make
from tunebook.schedules import WarmupCosine

NOTEBOOK = {
    "filters": 32,
    "kernel_size": 3,
    "pool_size": 2,
    "conv_dropout": 0.25,
    "dense_units": 128,
    "dense_dropout": 0.5,
}


def network(**changed: object) -> KerasCNN:
    return KerasCNN(image_shape=(1, 28, 28), num_classes=10, **(NOTEBOOK | changed))  # type: ignore[arg-type]


def test_the_notebooks_network_has_its_600810_parameters() -> None:
    conv1, conv2 = 32 * 9 + 32, 32 * 32 * 9 + 32
    dense, logits = 12 * 12 * 32 * 128 + 128, 128 * 10 + 10
    assert conv1 + conv2 + dense + logits == 600_810
    assert sum(p.numel() for p in network().parameters()) == 600_810


@pytest.mark.parametrize("name", ["batchnorm_cnn", "lenet"])
def test_conf_says_how_many_parameters_a_network_has(name: str) -> None:
    settings = plain(with_choices({"model": name}))["model"]
    made = make(settings, "model", image_shape=(1, 28, 28), num_classes=10)
    count = f"{sum(p.numel() for p in made.parameters()):,}"
    assert count in (ROOT / "conf" / "model" / f"{name}.yaml").read_text()


def test_initial_weights_are_glorot_uniform_and_biases_zero() -> None:
    """Initial weights are Glorot-uniform, and biases are zero.

    U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) has the standard deviation a / sqrt(3)
    (Glorot & Bengio 2010, eq. 16).
    """
    torch.manual_seed(0)
    fans = {"0": (9, 32 * 9), "2": (32 * 9, 32 * 9), "7": (4608, 128), "10": (128, 10)}
    layers = dict(network().layers.named_children())
    for name, (fan_in, fan_out) in fans.items():
        weight, bound = layers[name].weight.detach(), math.sqrt(6 / (fan_in + fan_out))
        assert float(weight.abs().max()) <= bound
        assert float(weight.abs().max()) > 0.95 * bound
        assert float(weight.std()) == pytest.approx(
            bound / math.sqrt(3), rel=4 / math.sqrt(weight.numel())
        )
        assert float(weight.mean()) == pytest.approx(
            0, abs=4 * bound / math.sqrt(3 * weight.numel())
        )
        assert not layers[name].bias.any()


def test_pooling_before_relu_is_the_notebooks_function() -> None:
    torch.manual_seed(0)
    made, images = network().eval(), torch.rand(4, 1, 28, 28)
    conv1, _, conv2, _, _, _, _, dense, _, _, logits = made.layers
    x = torch.relu(conv2(torch.relu(conv1(images))))
    x = torch.nn.functional.max_pool2d(x, 2).flatten(1)
    assert torch.equal(made(images), logits(torch.relu(dense(x))))


def test_dropout_is_element_wise_and_inverted() -> None:
    torch.manual_seed(0)
    dropout = network().layers[5]
    out = dropout.train()(torch.ones(16, 32, 12, 12))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    kept = (out > 0).float().mean(dim=(2, 3))
    assert kept.std() > 0  # dropout does not drop whole channels
    assert float(kept.min()) > 0.5
    assert float(kept.max()) < 1
    assert float((out > 0).float().mean()) == pytest.approx(0.75, abs=0.01)


def test_two_adadelta_steps_are_zeilers() -> None:
    """Two steps of Adadelta are those of Zeiler (2012), algorithm 1.

    They are worked out by hand in double precision, with the settings of conf/.
    """
    settings = plain(with_choices({"optimizer": "adadelta"}))["optimizer"]
    assert (settings["lr"], settings["rho"], settings["eps"]) == (1.0, 0.95, 1e-7)
    weight = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer = make(settings, "optimizer", params=[weight])
    x, grad_average, step_average = 0.5, 0.0, 0.0
    for gradient in (0.3, -0.2):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        grad_average = 0.95 * grad_average + 0.05 * gradient**2
        step = math.sqrt(step_average + 1e-7) / math.sqrt(grad_average + 1e-7) * gradient
        step_average = 0.95 * step_average + 0.05 * step**2
        x -= step
        assert weight.item() == pytest.approx(x, rel=1e-12)
    # The first step by hand: sqrt(1e-7) / sqrt(0.05 * 0.09 + 1e-7) * 0.3 = 0.00141419...
    assert math.sqrt(1e-7) / math.sqrt(0.05 * 0.09 + 1e-7) * 0.3 == pytest.approx(
        0.00141419, rel=1e-5
    )


@given(
    st.sampled_from([(1, 28, 28), (1, 8, 8), (3, 12, 20)]),
    st.integers(1, 8),
    st.integers(1, 14),
    st.integers(1, 24),
    st.integers(2, 12),
)
@settings(max_examples=60, deadline=None)
def test_keras_cnn_either_works_or_names_the_setting(
    shape: tuple[int, int, int], filters: int, kernel: int, pool: int, classes: int
) -> None:
    settings = NOTEBOOK | {"filters": filters, "kernel_size": kernel, "pool_size": pool}
    left = min(shape[1:]) - 2 * (kernel - 1)
    with torch.device("meta"):
        if pool <= left:
            made = KerasCNN(image_shape=shape, num_classes=classes, **settings)  # type: ignore[arg-type]
            assert made(torch.empty(3, *shape)).shape == (3, classes)
        else:
            with pytest.raises(SettingError, match="^kernel_size" if left < 1 else "^pool_size"):
                KerasCNN(image_shape=shape, num_classes=classes, **settings)  # type: ignore[arg-type]


@given(
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_lenet_either_works_or_names_the_setting(
    shape: tuple[int, int, int], filters: int, kernel: int, pool: int
) -> None:
    def make() -> LeNet:
        return LeNet(
            image_shape=shape, num_classes=5, filters=filters, kernel_size=kernel, pool_size=pool,
            dense_units=7, dense_dropout=0.1,
        )  # fmt: skip

    side, works = min(shape[1:]), True
    for _ in range(2):
        works = works and side >= kernel and side - kernel + 1 >= pool
        side = (side - kernel + 1) // pool
    with torch.device("meta"):
        if works:
            assert make()(torch.empty(3, *shape)).shape == (3, 5)
        else:
            with pytest.raises(SettingError, match=r"^(kernel|pool)_size"):
                make()


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32)])
def test_other_networks_take_any_image(shape: tuple[int, int, int]) -> None:
    mlp = MLP(image_shape=shape, num_classes=7, hidden_layers=2, dense_units=16, dense_dropout=0.2)
    cnn = BatchNormCNN(
        image_shape=shape,
        num_classes=7,
        filters=4,
        kernel_size=3,
        stages=3,
        pool_size=2,
        dense_dropout=0.2,
    )
    for made in (mlp, cnn):
        assert made(torch.rand(2, *shape)).shape == (2, 7)


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_warmup_cosine_rises_then_falls_to_its_end(steps: int, warmup: float, final: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupCosine(
        optimizer, total_steps=steps, warmup_fraction=warmup, final_fraction=final
    )
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    top = round(warmup * steps)
    assert all(0 <= rate <= 2.0 for rate in rates)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if top:
        assert rates[top - 1] == 2.0
    if top < steps:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * final)
