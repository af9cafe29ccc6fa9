"""Whole commands leave no secret in their output or in their files."""

import json
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from omegaconf import OmegaConf

from tests.conftest import Cli, run_process
from tests.helpers import faults
from tests.helpers.runs import RUN, with_store
from tests.helpers.secret_forms import files, files_with, forms_of
from tunebook.config.run_config import without_secrets
from tunebook.config.validation import SettingError
from tunebook.redaction import HIDDEN, hide
from tunebook.text_output import quoted
from tunebook.tracking.address import address_problem


def test_a_config_without_secrets_can_be_read_again() -> None:
    rest = {"b": "${oc.env:HOME}", "c": [1, None]}
    config = OmegaConf.create({"api_key": "hunter2", "a": {"uri": "http://me:pw@host"}, **rest})
    assert OmegaConf.create(without_secrets(config)) == {
        "api_key": HIDDEN,
        "a": {"uri": "http://***@host"},
        **rest,
    }


def test_a_line_is_cut_after_it_was_redacted() -> None:
    hide.PROCESS.learn("http://somebody:0123456789-abcdefghij-ABCDEFGHIJ-klmnopqrst@host")
    error = SettingError(
        "experiment_name", "x" * 60 + "0123456789-abcdefghij-ABCDEFGHIJ-klmnopqrst", "is no name"
    )
    assert "0123" not in str(error)


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql", "mysql"])
@pytest.mark.parametrize(
    "password", ["CorrectHorse9/x", "a/b:c@d", "[half", "x#y?z/Battery77", "9999999/Staple55"]
)
def test_no_part_of_a_password_is_in_the_answer_to_a_bad_address(
    scheme: str, password: str
) -> None:
    """The error for a bad address contains no part of its password.

    A URL parser's own message quotes what it took for a port or a host.
    """
    said = address_problem(f"{scheme}://me:{password}@127.0.0.1:9/x")
    assert [part for part in re.findall(r"\w{5,}", password) if part in said] == []


IN_ADDRESS, IN_VARIABLE, IN_QUERY = (
    "p/a@s#s?w'o\"r d,&%é",
    "va/ri@able'1\" x,y&z%",
    "s/i g=n&a'tu\"re",
)


def with_secrets(wraps: str = "") -> None:
    """Put a secret into the environment of a process.

    With `wraps`, make its 5th training step raise an error that contains another secret.
    """
    os.environ |= {
        "DB_PASS": IN_VARIABLE,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    if wraps:
        from tunebook.task import ClassificationTask

        faults.at_call(ClassificationTask, "training_step", 5, raise_with_secrets)


def raise_with_secrets() -> None:
    raise RuntimeError(
        f"no answer from http://me:{quote(IN_ADDRESS, safe='')}@host "
        f"with {IN_VARIABLE!r} and {json.dumps(IN_ADDRESS)}"
    )


def places(folder: Path) -> tuple[str, ...]:
    address = (
        f"http://me:{quote(IN_ADDRESS, safe='')}@127.0.0.1:9/x?password={quote(IN_QUERY, safe='')}"
    )
    return (
        f"outputs={folder}/out",
        f"tracking.uri={quoted(address)}",
        "tracking.patience_s=0",
        f"experiment_name={quoted(IN_VARIABLE)}",
    )


def test_a_run_that_fails_tells_no_secret_anywhere(tmp_path: Path) -> None:
    status = faults.run_train(
        (*RUN, *places(tmp_path)), tmp_path / "terminal.txt", with_secrets, "fails"
    )
    said = (tmp_path / "terminal.txt").read_text()
    assert status == 1, said
    assert len(list(files(tmp_path))) > 6
    assert HIDDEN in said
    assert [files_with(secret, tmp_path) for secret in (IN_ADDRESS, IN_VARIABLE, IN_QUERY)] == [
        [],
        [],
        [],
    ]


@pytest.mark.slow
def test_a_run_that_is_gone_on_with_and_delivered_tells_no_secret(tmp_path: Path) -> None:
    """A run that fails, is refused and is then resumed writes no secret.

    Its address is that of a real SQLite store, to which it is delivered.
    """
    with_store(tmp_path)
    uri = f"tracking.uri={quoted(f'sqlite:///{tmp_path}/mlflow.db')}"
    words = (*RUN, f"outputs={tmp_path}/out", uri, f"experiment_name={quoted(IN_VARIABLE)}")
    assert faults.run_train(words, tmp_path / "1.txt", with_secrets, "fails") == 1
    again = (f"outputs={tmp_path}/out", uri, "resume=last")
    assert faults.run_train(again, tmp_path / "2.txt", with_secrets) == 2
    assert (
        "was not stored with the run, as it contains a secret; give it again"
        in (tmp_path / "2.txt").read_text()
    )
    assert (
        faults.run_train(
            (*again, f"experiment_name={quoted(IN_VARIABLE)}"), tmp_path / "3.txt", with_secrets
        )
        == 0
    )
    assert len(list(tmp_path.glob("mlruns/**/*.ckpt"))) == 2
    assert files_with(IN_VARIABLE, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "executor",
    [(), ("sweep.executor=slurm", "sweep.slurm.cluster=local", "sweep.workers=1")],
    ids=["local", "jobs"],
)
def test_a_sweep_tells_no_secret_anywhere(tmp_path: Path, executor: tuple[str, ...]) -> None:
    words = ("-m", *RUN, "seed=1,2", "trainer.max_epochs=1", *executor, *places(tmp_path))
    assert faults.run_train(words, tmp_path / "terminal.txt", with_secrets) == 0, (
        tmp_path / "terminal.txt"
    ).read_text()
    assert list(tmp_path.rglob("study.db"))
    assert [files_with(secret, tmp_path) for secret in (IN_ADDRESS, IN_VARIABLE, IN_QUERY)] == [
        [],
        [],
        [],
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("tracking.uri=nothing://me:{}@host",),
        pytest.param(("modle=x", "tracking.uri=http://me:{}@host"), marks=pytest.mark.slow),
        pytest.param(("{}",), marks=pytest.mark.slow),
        ("--cfg", "job", "tracking.uri=http://me:{}@host"),
    ],
)
def test_bad_input_is_answered_without_its_secrets(words: tuple[str, ...]) -> None:
    result = run_process(
        "train.py",
        *(word.replace("{}", quote(IN_ADDRESS, safe="")) for word in words),
        DB_PASS=IN_ADDRESS,
    )
    assert result.code == (0 if "--cfg" in words else 2)
    assert [form for form in forms_of(IN_ADDRESS) if form in result.out + result.err] == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["+model.api_key=swordfish1,swordfish2"], "model.api_key=***: is named like a secret"),
        (["model.api_key=swordfish1,swordfish1"], "model.api_key=***: is named like a secret"),
        (
            ["++model.password=choice(swordfish1,'sword fish')", "sweep=random"],
            "model.password=***: is named like a secret",
        ),
        (
            ["+data.token=interval(7.25,9)", "sweep=random"],
            "data.token=***: is named like a secret",
        ),
        (
            ["++sweep.space={model.client_secret: 'choice(swordfish1,b)'}", "sweep=random"],
            "model.client_secret=***: is named like",
        ),
        (["model.filters='http://me:swordfish1@host',8"], "model.filters=***: contains a secret"),
        (
            ["++sweep.space={tracking.uri: 'choice(http://me:swordfish1@host,b)'}", "sweep=tpe"],
            "tracking.uri=***: contains a secret",
        ),
        (
            ["tracking.uri=http://me:swordfish1@host,http://me:swordfish2@host"],
            "applies to the whole sweep",
        ),
    ],
    ids=lambda words: words[0][:40] if isinstance(words, list) else None,
)
def test_a_secret_cannot_vary_in_a_sweep(
    cli: Cli, tmp_path: Path, words: list[str], named: str
) -> None:
    """A sweep refuses a secret as a value that varies.

    The study's database and the trials would contain it as it is.
    """
    result = cli("train.py", "-m", "data=digits", f"outputs={tmp_path}/out", *words)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert named in result.err
    assert "fish" not in result.out + result.err
    assert not any(tmp_path.iterdir())
