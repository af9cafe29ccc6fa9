"""Each number of conf/ set to an extreme value is refused in one line or harmless."""

import contextlib
import math
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.conftest import Cli
from tunebook import machine
from tunebook.config.compose import (
    ConfigError,
    compose_config,
    default_choices,
    leaves,
    options,
    with_choices,
)
from tunebook.config.run_config import RunConfig, plain
from tunebook.config.validation import InputError, SettingError, format_value, validate_value
from tunebook.runs.assemble import build
from tunebook.runs.check import check
from tunebook.runs.memory import training_bytes
from tunebook.sweeps.points import read, to_check

# The memory is beyond what the test process has: a failure must not take the machine down.
MEMORY, MAX_S = 4 * 2**30, 30
EXTREMES = (
    "0",
    "-1",
    "1e9",
    "1000000000",
    str(10**18),
    str(2**63),
    "1e99",
    str(10**400),
    "9" * 5000,
    "1e-300",
    "nan",
    "inf",
    "-inf",
)
REFUSED = (ConfigError, SettingError, InputError)
# For options of a group that have the same numbers, one stands for all.
SHARED: dict[str, list[str]] = {
    "data": ["digits"],
    "trainer": ["cpu"],
    "sweep": [],
    "experiment": [],
    "debug": [],
}
QUICK = ("data=digits", "model.kernel_size=3", "debug=quick", "trainer=cpu", "tracking=off")


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """Keep a faulty test from taking all memory and from running for ever."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def too_long(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError("takes too long")

    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, before[1]))
    handler = signal.signal(signal.SIGALRM, too_long)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, MAX_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def is_number(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def choices_of(group: str, option: str) -> dict[str, str | None]:
    return {**default_choices(), "data": "digits", group: option}


def numbers(group: str, option: str) -> list[str]:
    """Return the key of every number among an option's settings.

    An empty group stands for the settings that belong to no group.
    """
    cfg = with_choices(choices_of(group, option) if group else choices_of("data", "digits"))
    return [
        key
        for key, value in leaves(cfg)
        if is_number(value) and (key.startswith(f"{group}.") if group else "." not in key)
    ]


OPTIONS = [
    ("", ""),
    *[
        (group, option)
        for group in sorted(default_choices())
        for option in SHARED.get(group, options(group))
    ],
]


def answer(words: list[str]) -> str:
    """Return the error of a run's check, or an empty text where it accepts the overrides."""
    try:
        with in_time():
            cfg = compose_config("config", words)
            check(RunConfig.of(cfg))
    except REFUSED as error:
        return str(error)
    return ""


def answer_to_sweep(words: list[str]) -> str:
    """Return the error of a sweep's check, or an empty text where it accepts the overrides."""
    from tunebook.sweeps.study import check as check_study

    try:
        with in_time():
            request, base = read(words)
            for cfg, _ in to_check(request, base):
                check(RunConfig.of(cfg))
            check_study(request)
    except REFUSED as error:
        return str(error)
    return ""


def plain_value(text: str) -> Any:
    return int(text) if text.lstrip("-").isdigit() else float(text)


NOT_SERVED = [
    (["trainer.devices=1000"], "trainer.devices=1000: must be at most"),
    (["trainer=ddp", "trainer.devices=100000"], "trainer.devices=100000: must be at most"),
    (["data.num_workers=100000"], "data.num_workers=100000: must be at most"),
    (["data.num_workers=1000"], "data.num_workers=1000: must be at most"),
    (["model.filters=1000000000"], "model.filters=1000000000: must be less than or equal to"),
    (["model.filters=1000000"], "model.filters=1000000: needs about 145 TB of memory"),
    (["model.filters=" + "9" * 30],
     "model.filters=" + "9" * 30 + ": must be less than or equal to"),
    (["model.dense_units=1000000"], "model.dense_units=1000000: needs about"),
    (["data.batch_size=50000", "model.filters=500"], "data.batch_size=50000: needs about"),
    (["data.eval_batch_size=10000", "model.filters=2000"],
     "data.eval_batch_size=10000: needs about"),
    (["model=mlp", "model.hidden_layers=1e9"],
     "model.hidden_layers=1000000000.0: must be less than or equal to 1000"),
    (["model=batchnorm_cnn", "model.stages=1e18", "model.pool_size=1"],
     "model.stages=1e+18: must be less than"),
    (["model=batchnorm_cnn", "model.stages=1000000000000000000"],
     "model.stages=1000000000000000000: must be less than"),
    (["model=batchnorm_cnn", "model.stages=18", "model.pool_size=1"],
     "model.filters=32: must be at most 8"),
    (["model=batchnorm_cnn", "model.kernel_size=1000001"],
     "model.kernel_size=1000001: must be at most 55"),
    (["model=batchnorm_cnn", "data=digits", "data.batch_size=1", "model.pool_size=2",
      "model.stages=4"], "model"),
    (["trainer.max_epochs=1e99"],
     "trainer.max_epochs=1e+99: must be less than or equal to 1000000"),
    (["optimizer.lr=1e99"], "optimizer.lr=1e+99: must be between"),
    (["optimizer=adam", "optimizer.betas=[0.9,nan]"],
     "optimizer.betas=[0.9, nan]: must contain finite numbers"),
    (["tracking.patience_s=1e300"],
     "tracking.patience_s=1e+300: must be less than or equal to 31536000"),
    (["augmentation=affine", "augmentation.scale_max=1e30"],
     "augmentation.scale_max=1e+30: must be less than or equal to 100"),
]  # fmt: skip
SWEEPS_NOT_SERVED = [
    (["seed=1,2", "sweep.threads=1e9"], "sweep.threads=1000000000.0: must be at most"),
    (["seed=1,2", "sweep.workers=1e9"], "sweep.workers=1000000000.0: must be at most"),
    (["seed=1,2", "sweep.dry_run=true", "sweep.workers=5000"],
     "sweep.workers=5000: must be at most"),
    (["seed=1,2", "sweep.slurm.timeout_min=1e9"],
     "sweep.slurm.timeout_min=1000000000.0: must be less than"),
    (["seed=1,2", "sweep.trial_timeout=1e99"], "sweep.trial_timeout=1e+99: must be less than"),
    (["seed=range(0,1000000000000)"],
     "seed=range(0,1000000000000): contains 1000000000000 values: must be at most 10000"),
    (["seed=range(0.0,1.0,1e-12)"],
     "seed=range(0.0,1.0,1e-12): contains 1000000000000 values: must be at most 10000"),
    (["seed=range(1000)", "data.split_seed=range(1000)"], "make more than 10000 combinations"),
    (["sweep=random", "sweep.trials=1e9"],
     "sweep.trials=1000000000.0: must be less than or equal to 10000"),
    (["sweep=asha", "sweep.pruner.min_early_stopping_rate=1000000000"],
     "sweep.pruner.min_early_stopping_rate=1000000000: must be at most"),
    (["sweep=tpe", "+sweep.sampler.n_ei_candidates=1000000000"], ""),
    (["sweep=final", "sweep.of=x", "sweep.seeds=1e9"],
     "sweep.seeds=1000000000.0: must be less than or equal to 10000"),
    (["sweep=ablation", "sweep.of=x", "sweep.seeds=1e9"],
     "sweep.seeds=1000000000.0: must be less than or equal to 10000"),
    (["sweep=auto", "sweep.budget=1e9"], "sweep.budget=1e9: must be a number of runs"),
    (["sweep=auto", "sweep.min_gain=inf"], "sweep.min_gain=inf: must be a finite number"),
    (["seed=1,2", "sweep.max_failures=" + "9" * 5000], "4300 digits"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"), NOT_SERVED, ids=lambda x: " ".join(x)[:60] if isinstance(x, list) else None
)
def test_what_this_machine_does_not_serve_is_refused(words: list[str], said: str) -> None:
    found = answer(["tracking.uri=sqlite:////tmp/never.db", *words])
    assert found.startswith(said), found
    assert found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("words", "said"),
    SWEEPS_NOT_SERVED,
    ids=lambda x: " ".join(x)[:60] if isinstance(x, list) else None,
)
def test_a_sweep_that_this_machine_does_not_serve_is_refused(words: list[str], said: str) -> None:
    found = answer_to_sweep(["data=digits", "model.kernel_size=3", "tracking=off", *words])
    assert said in found, found
    assert found
    assert "\n" not in found


FIRST = dict(reversed(OPTIONS))  # the first option of each group


@pytest.mark.parametrize(
    ("group", "option"),
    [pytest.param(*one, marks=() if one in FIRST.items() else pytest.mark.slow) for one in OPTIONS],
)
def test_no_number_is_too_large_for_the_check(group: str, option: str) -> None:
    """The check refuses each extreme number in one line or accepts it, and starts no process."""
    choices = choices_of(group, option) if group else choices_of("data", "digits")
    cfg = compose_config("config", [f"{key}={one}" for key, one in choices.items() if one])
    before = set(psutil.Process().children())
    for key in numbers(group, option):
        for text in ("1e9", str(10**18), str(10**400), "inf"):
            tried = cfg.copy()
            old, value = OmegaConf.select(cfg, key), plain_value(text)
            OmegaConf.update(tried, key, [value, *old[1:]] if OmegaConf.is_list(old) else value)
            said = ""
            try:
                with in_time():
                    check(RunConfig.of(tried))
            except REFUSED as error:
                said = str(error)
            assert "\n" not in said, (key, text)
            assert said or text in ("1e9", str(10**18)), (key, text)
    assert set(psutil.Process().children()) <= before


@pytest.mark.slow
@pytest.mark.parametrize("text", EXTREMES, ids=lambda text: text[:12])
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_a_run_with_an_extreme_number_ends_as_documented(
    cli: Cli, tmp_path: Path, group: str, option: str, text: str
) -> None:
    """A run with an extreme number ends with a documented exit status.

    That is 0, or 1 with one line of error, or 2 with one line and nothing written.
    """
    chosen = [f"{group}={option}"] if group and f"{group}={option}" not in QUICK else []
    words = [
        word
        for word in QUICK
        if not group or not word.startswith(f"{group}=") or word == f"{group}={option}"
    ]
    store = [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"] if option == "mlflow" else []
    before = set(psutil.Process().children())
    for key in numbers(group, option):
        value = f"[{text},0.9]" if key.endswith("betas") else text
        folder = tmp_path / key
        with in_time():
            result = cli("train.py", *words, *chosen, *store, f"outputs={folder}", f"{key}={value}")
        assert result.code in (0, 1, 2), (key, result)
        assert "Traceback" not in result.out + result.err, key
        assert result.code == 0 or result.err.count("\n") == 1, (key, result.err)
        assert result.code != 2 or not folder.exists(), key
    left = set(psutil.Process().children()) - before
    # wandb keeps its service until the process ends that has used it.
    assert not [process for process in left if process.name() != "wandb-core"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [option for option in options("sweep") if option != "final"])
def test_every_number_of_a_sweep(kind: str) -> None:
    cfg = with_choices(choices_of("sweep", kind))
    names = [k for k, v in leaves(cfg.sweep, "sweep.") if is_number(v)]
    names += [
        "sweep.trials",
        "sweep.workers",
        "sweep.threads",
        "sweep.trial_timeout",
        "sweep.max_failures",
    ]
    for key in dict.fromkeys(names):
        for text in EXTREMES:
            found = answer_to_sweep(
                [
                    "data=digits",
                    "model.kernel_size=3,1",
                    "tracking=off",
                    f"sweep={kind}",
                    f"{key}={text}",
                ]
            )
            assert "\n" not in found, (key, text)


NUMBER = st.one_of(
    st.integers(), st.integers(min_value=2**63), st.integers(max_value=-(2**62)), st.floats()
)


@given(st.one_of(NUMBER, st.lists(NUMBER, max_size=5)))
def test_a_number_that_libraries_cannot_hold_is_refused(value: Any) -> None:
    items = value if isinstance(value, list) else [value]
    holds = all(
        math.isfinite(item)
        and abs(item) <= (2**63 - 1 if isinstance(item, int) else 3.4028234663852886e38)
        for item in items
    )
    try:
        taken = validate_value("x", value, Any) == value
    except SettingError as error:
        taken, said = False, str(error)
    assert taken == holds
    assert taken or "\n" not in said


def test_an_integer_that_python_does_not_print() -> None:
    with pytest.raises(SettingError, match="more than 4300 digits"):
        validate_value("x", 10**5000, int)
    assert format_value([10**5000]).startswith("(a number")


def test_a_limit_of_the_process_is_its_memory() -> None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    assert machine.memory() <= limit
    assert machine.cores() <= machine.processors()


def test_the_estimate_is_what_training_takes() -> None:
    """The memory estimate for the notebook's network agrees with a count by hand.

    Counted are weights, gradients, two averages, and what the layers keep of each image.
    """
    import torch

    with torch.device("meta"):
        parts = build(plain(with_choices({**default_choices(), "tracking": "off"})))
        found = training_bytes(parts, 100)
    image, conv1, conv2, pooled = 28 * 28, 32 * 26 * 26, 32 * 24 * 24, 32 * 12 * 12
    # Pooling keeps an index of 8 bytes for each value; dropout keeps the mask of its result.
    by_hand = (
        4 * 100 * (image + conv1 + conv2 + 3 * pooled + 4 * 128)
        + 8 * 100 * pooled
        + 4 * 4 * 600_810
    )
    assert found == pytest.approx(by_hand, rel=0.15)
    with torch.device("meta"):
        chosen = {**default_choices(), "tracking": "off", "callbacks": "ema"}
        averaged = training_bytes(build(plain(with_choices(chosen))), 100)
    assert averaged == found + 4 * 600_810
