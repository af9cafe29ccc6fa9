"""Every setting has a role, and what depends on it follows from the table."""

import pytest

from tunebook.config.compose import compose_config, default_choices, keys, options
from tunebook.config.roles import LOGGED, ROLES, Role, key_of, role_of

GROUPS = sorted(default_choices())


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Return every key that some choice of options has."""
    found = set(keys(compose_config("config", []))) | set(GROUPS)
    for group in GROUPS:
        for option in options(group):
            found |= set(keys(compose_config("config", [f"{group}={option}"])))
    return found


@pytest.mark.parametrize("key", ROLES)
def test_the_table_names_settings_that_exist(key: str, known: set[str]) -> None:
    assert key.removesuffix(".") in known
    if key.endswith("."):
        assert any(other.startswith(key) for other in known)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("data.root=/x", "data.root"),
        ("++data.root=/x=y", "data.root"),
        ("~tracking", "tracking"),
        ("tracking@other=off", "tracking"),
        ("hydra/job_logging=stdout", "hydra.job_logging"),
        (" seed = 1", "seed"),
    ],
)
def test_the_key_of_an_override(text: str, key: str) -> None:
    assert key_of(text) == key


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("optimizer.lr=0.1", Role.RESULT),
        ("loss.label_smoothing=0.1", Role.RESULT),
        ("metrics=balanced", Role.SELECTION),
        ("metrics.top_3_acc.top_k", Role.SELECTION),
        ("trainer=gpu", Role.DEVICE),
        ("trainer.max_epochs=3", Role.RESULT),
        ("trainer.accelerator", Role.DEVICE),
        ("data=digits", Role.DATA),
        ("data.source.dataset", Role.DATA),
        ("data.batch_size", Role.RESULT),
        ("data.root", Role.LOCATION),
        ("tracking.uri=http://h", Role.LOCATION),
        ("hydra.run.dir=x", Role.LOCATION),
        ("resume=last", Role.CALL),
        ("sweep.sampler.seed", Role.SWEEP),
        ("sweep.slurm.more.qos=x", Role.DRIVER),
        ("sweepers", Role.RESULT),
        ("outputs_of_mine", Role.RESULT),
    ],
)
def test_the_role_of_a_setting(text: str, role: Role) -> None:
    assert role_of(text) == role


def test_no_place_and_no_secret_is_logged_as_a_parameter(known: set[str]) -> None:
    logged = {key for key in known if role_of(key) in LOGGED}
    assert {"optimizer.lr", "seed", "trainer.precision", "model.filters"} <= logged
    assert not {
        key for key in logged if key.startswith(("tracking", "hydra", "outputs", "data.root"))
    }
