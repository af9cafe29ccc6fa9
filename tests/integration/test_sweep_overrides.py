"""A sweep's overrides are refused in one line before anything is written, or can be run."""

import re
import shlex
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Cli, run_process

WRONG = [
    (["optimizer=adam,adadleta"], "optimizer=adadleta", "Did you mean"),
    (["model.filters=16,0"], "model.filters=0", "in the trial model.filters=0"),
    (["optimizer.lr=interval(0.1,1)"], "optimizer.lr=interval(0.1,1)", "a grid needs values"),
    (["optimizer.lr=0.1,0.1"], "optimizer.lr", "twice"),
    (["optimizer.lr=tag(log, interval(0, 1))", "sweep=random"], "optimizer.lr", "above 0"),
    (["sweep=random", "sweep.trials=0"], "sweep.trials=0", "greater than or equal to 1"),
    (["sweep=random", "sweep.trials=null"], "sweep.trials", "does not end by itself"),
    (["sweep=randm"], "sweep=randm", "'random'"),
    (["sweep.trials=5", "seed=1,2"], "sweep.trials=5", "every combination"),
    (["seed=1,2", "sweep.workers=0"], "sweep.workers=0", "greater than or equal to 1"),
    (["seed=1,2", "sweep.workers=two"], "sweep.workers=two", "integer"),
    (["seed=1,2", "sweep.trial_timeout=-1"], "sweep.trial_timeout=-1", "greater than 0"),
    (["seed=1,2", "sweep.name=../x"], "sweep.name=../x", "letters"),
    (["seed=1,2", "sweep.storage=nonsense"], "sweep.storage", "opened"),
    (["seed=1,2", "sweep.wokers=2"], "sweep.wokers=2", "'sweep.workers'"),
    (["seed=1,2", "sweep.join=true"], "sweep.join=true", "there is no sweep"),
    (
        ["sweep=random", "sweep.sampler._target_=os.system"],
        "sweep.sampler._target_=os.system",
        "optuna.samplers",
    ),
    (
        ["sweep=tpe", "sweep.pruner._target_=optuna.pruners.Medium"],
        "sweep.pruner._target_",
        "'MedianPruner'",
    ),
    (["sweep=tpe", "sweep.pruner.reduction=3"], "sweep.pruner.reduction=3", "no such setting"),
    (["sweep=random", "objective=test/acc"], "objective=test/acc", "val/acc"),
    (
        ["sweep=random", "experiment=keras_notebook", "data=mnist"],
        "data.validate_on=test",
        "select by test metrics",
    ),
    (["tracking=off,mlflow"], "tracking", "whole sweep"),
    (["sweep.workers=1,2"], "sweep.workers", "whole sweep"),
    (["optimizer=glob(*)"], "optimizer", "glob"),
    (["seed=1"], "sweep", "nothing varies"),
    (["seed=1,2", "hydra.run.dir=/tmp/x"], "hydra.run.dir=/tmp/x", "its own folder"),
    (["sweep=final"], "sweep.of is required", ""),
    (["sweep=ablation"], "sweep.of is required", ""),
    (["sweep=auto", "budget=0"], "sweep.budget=0", "a number of runs from 1 to 10000, or a time"),
    (["sweep=auto", "budget=4 h"], "sweep.budget=4 h", "such as 4h or 90m"),
    (["sweep=auto", "sweep.budget=[1]"], "sweep.budget", "such as 4h or 90m"),
    (["sweep=auto", "sweep.trials=5"], "sweep.trials=5", "chooses its trials itself"),
    (["sweep=auto", "seed=1,2"], "seed=1,2", "is chosen by sweep=auto"),
    (["sweep=auto", "sweep.min_gain=-1"], "sweep.min_gain=-1", "greater than or equal to 0"),
    (["sweep=auto", "sweep.join=true"], "sweep.join=true", "one driver"),
    (["sweep=auto", "of=x"], "sweep.of=x", "no such sweep"),
    (["sweep=auto", "sweep.plan=fast"], "sweep.plan=fast", "auto"),
    (["sweep=ablation", "sweep.of=x", "sweep.plan=fast"], "sweep.plan=fast", "ablation"),
    (["seed=1,2", "resume=last"], "resume=last", "without -m"),
    (["seed=range(0)"], "seed=range(0)", "contains no value"),
    (["seed=range(5,5)"], "seed=range(5,5)", "contains no value"),
    (["seed=range(0,10,0)"], "seed=range(0,10,0)", "a step that is not 0"),
    (["seed=range(1000000000)"], "seed=range(1000000000)", "at most 10000"),
    (["seed=range(0,1e300,0.1)"], "seed", "finite"),
    (
        ["seed=range(200)", "data.split_seed=range(200)"],
        "seed, data.split_seed",
        "more than 10000 combinations",
    ),
    (["sweep=random", "sweep.trials=1e9"], "sweep.trials=1", "less than or equal to 10000"),
    (["seed=1,2", "sweep.pruner=median"], "sweep.pruner=median", "_target_"),
    (["seed=1,2", "sweep.pruner=[1]"], "sweep.pruner=[1]", "_target_"),
    (["sweep=random", "sweep.sampler=tpe"], "sweep.sampler=tpe", "_target_"),
    (["sweep=random", "sweep.sampler=[]"], "sweep.sampler=[]", ""),
    (["sweep=random", "sweep.space=all"], "sweep.space=all", "settings"),
    (["sweep=random", "sweep.space={seed: 3}"], "sweep.space", ""),
    (
        ["optimizer.lr=interval(1,0)", "sweep=random"],
        "optimizer.lr=interval(1,0)",
        "lower to a higher",
    ),
    (["optimizer.lr=interval(0,inf)", "sweep=random"], "optimizer.lr=interval(0,inf)", "finite"),
    (["optimizer.lr=interval(nan,1)", "sweep=random"], "optimizer.lr=interval(nan,1)", "finite"),
    (
        ["optimizer.lr=tag(lg, interval(0.1,1))", "sweep=random"],
        "optimizer.lr",
        "the only tag is log",
    ),
    (["seed=choice(choice(1,2),3)"], "seed", ""),
    (["seed=1,1.0"], "seed=1,1.0", "twice"),
    (["seed=1,2", "seed=3,4"], "seed=3,4", "given twice"),
    (["seed=5", "seed=1,2"], "seed=1,2", "given twice"),
    (["outputs=a,b"], "outputs", "whole sweep"),
    (["resume=last,x"], "resume=last,x", "without -m"),
    (["experiment_name=a,b"], "experiment_name", "whole sweep"),
    (["hydra.run.dir=a,b"], "hydra.run.dir", "whole sweep"),
    (["sweep.trials=1,2"], "sweep.trials", "whole sweep"),
    (["seed=1,2", "objective=[1]"], "objective", "val/acc"),
    (["seed=1,2", "sweep.ray=null"], "sweep.ray=null", "settings"),
    (["seed=1,2", "sweep.slurm=3"], "sweep.slurm=3", "settings"),
    (["seed=1,2", "sweep.patience_s=-1"], "sweep.patience_s=-1", "greater than or equal to 0"),
    (["seed=1,2", "sweep.of=x"], "sweep.of", ""),
    (["sweep=final", "sweep.of=x", "sweep.seeds=1e9"], "sweep.", ""),
]


@pytest.mark.parametrize(
    ("words", "named", "said"), WRONG, ids=lambda x: " ".join(x) if isinstance(x, list) else None
)
def test_what_is_wrong_is_told_before_anything_is_made(
    cli: Cli, tmp_path: Path, words: list[str], named: str, said: str
) -> None:
    places = (f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"outputs={tmp_path}/out")
    chosen = [
        word
        for word in ("data=digits", "trainer.max_epochs=1")
        if not any(w.startswith(word[:5]) for w in words)
    ]
    small = [] if any("keras" in word for word in words) else ["model.kernel_size=3"]
    result = cli("train.py", "-m", *places, *chosen, *small, *words)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert named in result.err
    assert said in result.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "left_out", "kept"),
    [
        (["sweep=tpe"], "model.kernel_size=5: must be at most 4", "model.kernel_size=3"),
        pytest.param(
            ["sweep=random", "model=mlp"],
            "the chosen options don't have them: model.filters, ",
            "model.dense_units=",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["sweep=sobol", "model=mlp,keras_cnn"],
            "the chosen options don't have them: model.filters, ",
            "model=mlp",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["sweep=asha"],
            "model.kernel_size=5: must be at most 4",
            "model.kernel_size=3",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_shipped_space_is_made_to_fit(
    cli: Cli, tmp_path: Path, words: list[str], left_out: str, kept: str
) -> None:
    """Values of a shipped search space that do not fit the data or network are left out.

    A line says so. Values that the user has typed are never left out.
    """
    places = (f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"outputs={tmp_path}/out")
    result = cli("train.py", "-m", "data=digits", *words, "sweep.dry_run=true", *places)
    assert result.code == 0, result.err
    assert left_out in result.out + result.err
    assert kept in result.out
    assert "kernel_size=5" not in re.sub("removed from.*", "", result.out)
    assert not any(tmp_path.iterdir())


def test_a_value_that_was_typed_is_refused(cli: Cli, tmp_path: Path) -> None:
    places = (f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"outputs={tmp_path}/out")
    result = cli("train.py", "-m", "data=digits", "sweep=random", "model.kernel_size=3,5", *places)
    assert result.code == 2
    assert result.err.startswith("error: model.kernel_size=5: must be at most 4")


@pytest.mark.slow
@pytest.mark.alone
def test_a_network_that_cannot_be_is_refused_before_the_rest_is_imported() -> None:
    """A network that can't be built is refused before anything but torch is imported.

    The refusal takes less than three times as long as importing torch.
    """
    import subprocess
    import sys

    def seconds(*command: str) -> float:
        begun = time.process_time_ns, time.monotonic()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        return time.monotonic() - begun[1]

    torch_alone = min(seconds("-c", "import torch") for _ in range(3))
    found = []
    for _ in range(3):
        begun = time.monotonic()
        assert run_process("train.py", "-m", "model.kernel_size=3,15").code == 2
        found.append(time.monotonic() - begun)
    assert min(found) < 3 * torch_alone


KEYS = ["seed", "model", "optimizer", "optimizer.lr", "model.filters", "model.kernel_size",
        "data.batch_size", "trainer.max_epochs", "sweep.trials", "sweep.sampler", "sweep.pruner",
        "sweep.space", "sweep.name", "sweep.of", "sweep.ray", "sweep.slurm.more", "sweep.storage",
        "outputs", "tracking", "resume", "hydra.run.dir", "sweep", "objective", "experiment_name",
        "x.y"]  # fmt: skip
SCALARS = st.one_of(
    st.integers(-2, 9), st.integers(), st.floats(), st.booleans(), st.none(),
    st.sampled_from(["adam", "sgd", "mlp", "keras_cnn", "random", "tpe", "asha", "x", "''", "a b",
                     "${seed}", "${x", "null", "[1,2]", "{a: 1}", "val/acc", "val/loss", "../x",
                     "1e9", "inf", "nan", "2**9"]),
).map(lambda value: {None: "null", True: "true", False: "false"}.get(value, str(value))
      if value is None or value is True or value is False
      else str(value))  # fmt: skip


def call(name: str, items: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(items, max_size=most).map(lambda found: f"{name}({','.join(found)})")


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(",".join), call("choice", inner, 3),
        call("range", inner, 3), call("interval", inner, 2), call("tag", inner, 2),
        call("int", inner, 1), call("glob", inner, 1), call("sort", inner, 3),
        call("shuffle", inner, 3), inner.map(lambda text: f"tag(log, {text})"),
    ),
    max_leaves=4,
)  # fmt: skip
WORDS = st.builds(
    lambda prefix, key, value: f"{prefix}{key}={value}",
    st.sampled_from(["", "", "", "", "", "+", "++", "~"]), st.sampled_from(KEYS), VALUES,
)  # fmt: skip
FEW, MANY = 12, 1000
GRAMMAR = {"deadline": None, "suppress_health_check": list(HealthCheck)}
LINES = st.lists(WORDS, min_size=1, max_size=4)


def assert_refused_or_right(cli: Cli, folder: Path, words: list[str]) -> None:
    """Assert that the overrides are refused in one line with status 2, or give trials.

    There is no traceback, and nothing is written.
    """
    before = sorted(folder.rglob("*"))
    places = [f"outputs={folder}/out"] if not any("outputs" in word for word in words) else []
    uri = f"tracking.uri=sqlite:///{folder}/mlflow.db"
    result = cli("train.py", "-m", "data=digits", uri, *places, *words, "sweep.dry_run=true")
    assert result.code in (0, 2), (shlex.join(words), result.err)
    assert "Traceback" not in result.err + result.out, shlex.join(words)
    if result.code == 2:
        lines = [
            line
            for line in result.err.splitlines()
            if not line.startswith("removed from the search space")
        ]
        assert len(lines) == 1, (shlex.join(words), result.err)
        assert lines[0].startswith("error: ")
    else:
        assert re.search(r"^\d+ trials?\b", result.out, re.M), shlex.join(words)
    assert sorted(folder.rglob("*")) == before, shlex.join(words)


@settings(max_examples=FEW, **GRAMMAR)
@given(words=LINES)
def test_any_command_line_is_refused_or_can_be_run(
    cli: Cli, tmp_path: Path, words: list[str]
) -> None:
    assert_refused_or_right(cli, tmp_path, words)


@pytest.mark.slow
@settings(max_examples=MANY, **GRAMMAR)
@given(words=LINES)
def test_any_of_many_command_lines_is_refused_or_can_be_run(
    cli: Cli, tmp_path: Path, words: list[str]
) -> None:
    assert_refused_or_right(cli, tmp_path, words)
