"""A checkpoint with a valid digest and bad contents is refused in one line with status 2."""

import copy
import hashlib
import io
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import open_dict

from tests.conftest import Cli, in_folder
from tests.helpers import faults
from tests.helpers.runs import RUN, with_store
from tests.helpers.strangers import change_run_json, hand_over, listing, make_half
from tunebook.config.compose import compose_config
from tunebook.config.run_config import plain
from tunebook.runs.assemble import RunComponents, build
from tunebook.runs.compatibility import require_fit
from tunebook.training import checkpoint
from tunebook.training.checkpoint import LAST, MARK, PREVIOUS, CheckpointError, require_same_network
from tunebook.training.checkpoint_contents import require_state

RICH = ("optimizer=adam", "scheduler=onecycle", "callbacks=early_stopping")


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_half(tmp_path_factory.mktemp("half"), *RICH)


@pytest.fixture(scope="module")
def content(half: Path) -> dict[str, Any]:
    return checkpoint.read(half / "checkpoints" / LAST)


@pytest.fixture(scope="module")
def parts() -> RunComponents:
    cfg = compose_config("config", [*RUN, *RICH])
    with open_dict(cfg):
        del cfg["hydra"]
    with torch.device("meta"):
        return build(plain(cfg))


def put(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    """Set the value at a path of keys; `...` removes it."""
    for key in path[:-1]:
        content = content[key]
    if value is ...:
        del content[path[-1]]
    else:
        content[path[-1]] = value


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join(['*' + b] * 9)}]\n" for b, n in zip("abcdefgh", "bcdefghi", strict=True)
)
STATE = ("optimizer_states", 0, "state", 0)
PROGRESS = ("loops", "fit_loop", "epoch_loop.automatic_optimization.optim_progress")
FACTS, REPORT = ("tunebook",), ("callbacks", "EpochLogger")
WRONG: dict[str, tuple[tuple[Any, ...], Any]] = {
    "no tunebook": (FACTS, ...),
    "tunebook is a list": (FACTS, []),
    "format is a dict": ((*FACTS, "format"), {}),
    "no settings": ((*FACTS, "settings"), ...),
    "settings are numbers": ((*FACTS, "settings"), {"a": 1}),
    "overrides are a text": ((*FACTS, "overrides"), "abc"),
    "no position": ((*FACTS, "position"), ...),
    "position is negative": ((*FACTS, "position", "epoch"), -1),
    "position is a text": ((*FACTS, "position", "batch"), "7"),
    "position is far away": ((*FACTS, "position", "epoch"), 10**30),
    "batch beyond the epoch": ((*FACTS, "position", "batch"), 99),
    "no batches": ((*FACTS, "position", "batches"), 0),
    "precision": ((*FACTS, "environment", "precision"), "64-true"),
    "threads is true": ((*FACTS, "environment", "threads"), True),
    "trained is a text": ((*FACTS, "trained"), "yes"),
    "history is a dict": ((*REPORT, "history"), {}),
    "history is short": ((*REPORT, "history"), []),
    "history without accuracy": ((*REPORT, "history", 0, "val/acc"), ...),
    "history of texts": ((*REPORT, "history", 0, "val/acc"), "0.5"),
    "history counts from 7": ((*REPORT, "history", 0, "epoch"), 7),
    "no report": (REPORT, ...),
    "callbacks are None": (("callbacks",), None),
    "early stopping lacks": (
        ("callbacks", "EarlyStopping{'monitor': 'val/acc', 'mode': 'max'}"),
        ...,
    ),
    "early stopping of texts": (
        ("callbacks", "EarlyStopping{'monitor': 'val/acc', 'mode': 'max'}", "wait_count"),
        "x",
    ),
    "best score is a list": (("callbacks", "CheckpointCallback", "best_score"), []),
    "no optimizer": (("optimizer_states",), []),
    "two optimizers": (("optimizer_states",), [{}, {}]),
    "another shape": ((*STATE, "exp_avg"), torch.zeros(2, 2)),
    "another type": ((*STATE, "exp_avg"), torch.zeros(4, 1, 3, 3, dtype=torch.int64)),
    "not a number": ((*STATE, "exp_avg"), torch.full((4, 1, 3, 3), float("nan"))),
    "expanded": ((*STATE, "exp_avg"), torch.zeros(1).expand(10**12)),
    "sparse": ((*STATE, "exp_avg"), torch.zeros(4, 1, 3, 3).to_sparse()),
    "a key lacks": ((*STATE, "exp_avg_sq"), ...),
    "a key too much": ((*STATE, "more"), torch.zeros(1)),
    "a parameter lacks": (STATE, ...),
    "a parameter by a text": (("optimizer_states", 0, "state", "0"), {}),
    "no groups": (("optimizer_states", 0, "param_groups"), []),
    "lr is a text": (("optimizer_states", 0, "param_groups", 0, "lr"), "1"),
    "lr is no number": (("optimizer_states", 0, "param_groups", 0, "lr"), float("nan")),
    "parameters in a different order": (
        ("optimizer_states", 0, "param_groups", 0, "params"),
        [1, 0, 2, 3, 4, 5, 6, 7],
    ),
    "no schedule": (("lr_schedulers",), []),
    "schedule is None": (("lr_schedulers", 0), None),
    "schedule is over": (("lr_schedulers", 0, "last_epoch"), 10**9),
    "schedule of another length": (("lr_schedulers", 0, "total_steps"), 3),
    "no loops": (("loops",), ...),
    "loops are empty": (("loops",), {}),
    "a loop's count is a text": (("loops", "fit_loop", "epoch_progress", "total", "ready"), "x"),
    "a loop's count is negative": ((*PROGRESS, "optimizer", "step", "total", "completed"), -5),
    "weights are a list": (("state_dict",), []),
    "weights are numbers": (("state_dict", "network.0.weight"), 1.0),
    "figures lack": (("train_figures",), ...),
    "figures are numbers": (("train_figures", 0, "loss_sum"), 1.0),
    "figures of another shape": (("train_figures", 0, "samples"), torch.zeros(3)),
    "epoch is a list": (("epoch",), []),
    "nested deeply": ((*STATE, "exp_avg"), nested(100)),
}


def refuse(content: dict[str, Any], parts: RunComponents) -> str:
    """Return the error of `resume` for a checkpoint, or an empty text where it is accepted."""
    data = checkpoint.encode(content)
    try:
        found = checkpoint.decode(data, "x")
        require_state(found, "x")
        require_same_network(parts.task, found, "x")
        require_fit(found, parts, set(), "x")
    except CheckpointError as error:
        return str(error)
    return ""


def test_what_a_run_wrote_is_taken(content: dict[str, Any], parts: RunComponents) -> None:
    assert refuse(copy.deepcopy(content), parts) == ""


@pytest.mark.parametrize(("path", "value"), WRONG.values(), ids=WRONG.keys())
def test_what_no_run_writes_is_refused(
    content: dict[str, Any], parts: RunComponents, path: tuple[Any, ...], value: Any
) -> None:
    changed = copy.deepcopy(content)
    if path == ("state_dict", "network.0.weight"):
        path = ("state_dict", next(iter(changed["state_dict"])))
    put(changed, path, value)
    if path == (*FACTS, "format"):
        return  # the caller reports a wrong format before it checks anything else
    said = refuse(changed, parts)
    assert said
    assert "\n" not in said
    assert len(said) < 500


def put_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    (folder / "checkpoints" / LAST).write_bytes(checkpoint.encode(content))
    (folder / "checkpoints" / PREVIOUS).unlink(missing_ok=True)


ON_THE_COMMAND_LINE = [
    "no tunebook",
    "format is a dict",
    "not a number",
    "another shape",
    "history is short",
    "no schedule",
    "a loop's count is a text",
    "schedule of another length",
    "early stopping of texts",
    "figures lack",
]


@pytest.mark.parametrize("name", ON_THE_COMMAND_LINE)
def test_on_the_command_line_it_is_one_line_and_nothing_is_made(
    cli: Cli, half: Path, content: dict[str, Any], tmp_path: Path, name: str
) -> None:
    folder = hand_over(half, tmp_path / "strange")
    changed = copy.deepcopy(content)
    put(changed, *WRONG[name])
    put_checkpoint(folder, changed)
    shutil.copy(folder / "checkpoints" / LAST, tmp_path / "x.ckpt")
    before = listing(tmp_path)
    for resumed in (folder, tmp_path / "x.ckpt"):
        result = cli("train.py", f"resume={resumed}", *in_folder(tmp_path))
        assert result.code == 2, result.out + result.err
        assert result.err.count("\n") == 1
    assert listing(tmp_path) == before


def test_the_one_before_is_used_where_the_last_is_no_state(
    half: Path, content: dict[str, Any], tmp_path: Path
) -> None:
    with_store(tmp_path)
    folder = hand_over(half, tmp_path / "strange")
    shutil.copy(folder / "checkpoints" / LAST, folder / "checkpoints" / PREVIOUS)
    changed = copy.deepcopy(content)
    put(changed, *WRONG["not a number"])
    (folder / "checkpoints" / LAST).write_bytes(checkpoint.encode(changed))
    log = tmp_path / "log.txt"
    assert faults.run_train((f"resume={folder}", *with_store(tmp_path)), log) == 0, log.read_text()
    assert "using the checkpoint before it" in log.read_text()


YAMLS = {
    "laughs": LAUGHS,
    "deep": "[" * 5000,
    "deep and closed": "{a: " * 900 + "1" + "}" * 900,
    "huge": "a: " + "x" * (2 << 20),
    "python": "!!python/object/apply:os.system ['true']",
    "two documents": "a: 1\n---\nb: 2",
    "tab": "\t- a",
    "binary": "\x00",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS.keys())
def test_yaml_in_a_checkpoint_bombs_nobody(
    cli: Cli, half: Path, content: dict[str, Any], tmp_path: Path, text: str
) -> None:
    changed = copy.deepcopy(content)
    put(changed, (*FACTS, "config"), text)
    (tmp_path / "x.ckpt").write_bytes(checkpoint.encode(changed))
    result = cli("evaluate.py", f"run={tmp_path}/x.ckpt")
    assert result.code == 2, result.out + result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


def resealed(data: bytes) -> bytes:
    """Return a zip archive with the mark and a valid digest of a checkpoint."""
    data = data[:-2] + struct.pack("<H", checkpoint.COMMENT_BYTES)
    return data + MARK + hashlib.sha256(data).hexdigest().encode()


def archives() -> Iterator[tuple[str, bytes]]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 5_000_000)
    yield "bomb", resealed(buffer.getvalue())
    for name, text in (
        ("empty", b""),
        ("no pickle", b"abc"),
        ("stop", b"."),
        ("recursive", b"(" * 100_000),
        ("global", b"cos\nsystem\n."),
    ):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", text)
            archive.writestr("archive/version", b"3\n")
        yield name, resealed(buffer.getvalue())
    yield "no archive", resealed(b"x" * 100 + b"PK\x05\x06" + b"\0" * 18)


@pytest.mark.parametrize(
    ("name", "data"), list(archives()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_archive_of_another_kind_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(CheckpointError) as error:
        checkpoint.decode(data, "x")
    assert "\n" not in str(error.value)


def test_a_file_of_any_size_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "x.ckpt").open("wb") as file:
        file.truncate(1 << 42)
        file.seek(0, os.SEEK_END)
    with pytest.raises(CheckpointError, match="is not a Tunebook checkpoint"):
        checkpoint.read(tmp_path / "x.ckpt")
    with (tmp_path / "x.ckpt").open("ab") as file:
        file.write(MARK + b"0" * 64)
    with pytest.raises(CheckpointError, match="larger than the free memory"):
        checkpoint.read(tmp_path / "x.ckpt")


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [found for key, item in items for found in [(*path, key), *paths_in(item, (*path, key))]]


VALUES: list[Callable[[random.Random], Any]] = [
    lambda _: ...,
    lambda _: None,
    lambda _: {},
    lambda _: [],
    lambda _: "x",
    lambda _: "\x1b[2J\n",
    lambda _: -1,
    lambda _: 2**70,
    lambda _: True,
    lambda _: float("nan"),
    lambda _: float("inf"),
    lambda _: -0.5,
    lambda _: torch.zeros(()),
    lambda _: torch.tensor(float("nan")),
    lambda _: [[]],
    lambda _: torch.zeros(3, dtype=torch.complex64),
    lambda _: torch.zeros(1).expand(2**40),
    lambda _: {"a": {"b": 1}},
    lambda _: b"bytes",
    lambda draw: draw.randint(0, 100),
    lambda draw: nested(draw.randint(1, 90)),
    lambda draw: "y" * draw.randint(1, 3 << 20),
    lambda _: (1, 2),
]


def mutated(content: dict[str, Any], number: int) -> dict[str, Any]:
    draw = random.Random(number)
    changed = copy.deepcopy(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        put(changed, draw.choice(paths_in(changed)), draw.choice(VALUES)(draw))
    return changed


def assert_told(content: dict[str, Any], parts: RunComponents, number: int) -> bool:
    said = refuse(mutated(content, number), parts)
    assert "\n" not in said
    assert len(said) < 500
    return bool(said)


@given(number=st.integers(0, 2**32))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_mutation_is_taken_or_told(
    content: dict[str, Any], parts: RunComponents, number: int
) -> None:
    assert_told(content, parts, number)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_four_thousand_mutations_are_taken_or_told(
    content: dict[str, Any], parts: RunComponents, part: int
) -> None:
    told = sum(assert_told(content, parts, 10_000 + 400 * part + number) for number in range(400))
    assert told > 200


@pytest.mark.slow
def test_a_mutation_that_is_taken_ends_well_or_is_told(
    cli: Cli, half: Path, content: dict[str, Any], parts: RunComponents, tmp_path: Path
) -> None:
    """Resuming from an accepted mutated checkpoint ends well or with one line of error."""
    numbers = [
        number for number in range(50_000, 50_300) if not refuse(mutated(content, number), parts)
    ][:25]
    assert len(numbers) >= 10
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        strange = hand_over(half, folder / "strange")
        change_run_json(strange, pid=0)
        put_checkpoint(strange, mutated(content, number))
        result = cli("train.py", f"resume={strange}", *with_store(folder))
        assert result.code in (0, 2), f"{number}: {result.err}"
        assert "Traceback" not in result.err + result.out
        assert result.err.count("\n") == (1 if result.code else 0), result.err
