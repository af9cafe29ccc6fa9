"""Each command that compare.py suggests is complete and can be run.

The comparison after them sees their runs.
"""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.conftest import SMALL, Cli, run_process, runs_in
from tests.helpers.stored import Store
from tests.integration.test_report import SPACE
from tunebook.analysis.commands import PLAIN, exact_text

FIXED = [*SMALL, "scheduler=cosine"]


def commands_of(out: str) -> list[list[str]]:
    """Return the suggested commands as lists of arguments, the script first."""
    lines = out.partition("\nnext\n")[2].partition("\n\n")[0].splitlines()
    words = [shlex.split(line) for line in lines if line.startswith("  python src/")]
    assert all(word[0] == "python" for word in words)
    return [[word[1].removeprefix("src/"), *word[2:]] for word in words]


def sweep_with_an_end(folder: Path, name: str) -> Store:
    """Store a sweep whose best configurations have the most filters and are otherwise undecided."""
    store = Store(folder)
    parent = store.sweep(name, {**SPACE, "model.filters": "choice(8, 16, 32)"}, FIXED)
    for number in range(30):
        filters, optimizer = (8, 16, 32)[number % 3], ("adam", "sgd")[number % 2]
        lr = (1 + number) * (1e-4 if optimizer == "adam" else 1e-2)
        value = 0.9 + 0.01 * (number % 3) + 0.0001 * (number * 7 % 10)
        params = {"optimizer": optimizer, "optimizer.lr": lr, "model.filters": filters, "seed": 1}
        store.trial(name, parent, number, {**params, "data": "digits"}, (value - 0.1, value))
    return store


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s", 'it\'s lr, by (chance) 50 % = "_" and more'])
def test_each_command_passes_the_check(cli: Cli, tmp_path: Path, name: str) -> None:
    store = sweep_with_an_end(tmp_path, name)
    result = cli("compare.py", f"sweep={name}", "report=false", *store.words)
    assert result.code == 0, result.err
    found = commands_of(result.out)
    assert len({tuple(words) for words in found}) == len(found)
    train = [words for words in found if words[0] == "train.py"]
    assert any("model.filters=32,64" in words for words in train)
    assert len(train) == 4
    for words in train:
        assert {*FIXED, *store.words} <= set(words)
        assert any(word.startswith("sweep.name=") for word in words)
        assert "sweep.test=false" in words
        assert len({word.partition("=")[0] for word in words[2:]}) == len(words[2:])
        checked = cli(words[0], *words[1:], "sweep.dry_run=true")
        assert checked.code == 0, checked.err
    comparisons = [words for words in found if words[0] == "compare.py"]
    assert len(comparisons) == 2
    assert all({store.words[0], store.words[1]} <= set(words) for words in comparisons)


def test_runs_of_different_origin_have_whole_commands(cli: Cli, tmp_path: Path) -> None:
    """A run with precision=auto and a trial with its resolved value are one configuration.

    The suggested command has the settings that both share.
    """
    store = Store(tmp_path)
    shared = {"data": "digits", "model.filters": 16, "trainer.max_epochs": 2}
    for seed in (1, 2):
        for dropout in (0.1, 0.2):
            auto = seed == 1
            params = {
                **shared,
                "trainer": "auto" if auto else "cpu",
                "trainer.precision": "auto" if auto else "32-true",
                "model.conv_dropout": dropout,
                "seed": seed,
            }
            words = (
                "data=digits model.filters=16 trainer.max_epochs=2 "
                f"seed={seed} model.conv_dropout={dropout}"
            )
            words = words if auto else f"{words} trainer=cpu trainer.precision=32-true"
            tags = {"command": f"python src/train.py {words}", "precision": "32-true"}
            store.run(f"{seed} {dropout}", params, (0.9 + dropout / 1000 * seed,), tags=tags)
    result = cli("compare.py", "report=false", *store.words)
    assert result.code == 0, result.err
    assert re.search(r"^1 +2 ", result.out, re.M)  # both runs of one configuration
    assert "trainer.precision" not in result.out.partition("\nnext")[0]
    train = [words for words in commands_of(result.out) if words[0] == "train.py"]
    assert len(train) == 2
    for words in train:
        assert {"data=digits", "model.filters=16", "trainer.max_epochs=2", *store.words} <= set(
            words
        )
        assert cli(words[0], *words[1:], "sweep.dry_run=true").code == 0


@pytest.mark.slow
def test_finalists_are_chosen_by_validation_and_the_winner_alone_is_tested(tmp_path: Path) -> None:
    store = sweep_with_an_end(tmp_path, "s")
    said = run_process("compare.py", "sweep=s", "report=false", *store.words)
    found = commands_of(said.out)
    finalists = [words for words in found if "finalist" in words[-1] and words[0] == "train.py"]
    assert len(finalists) == 3
    before = {run.info.run_id for run in runs_in(tmp_path)}
    for words in finalists:
        ran = run_process(*words)
        assert ran.code == 0, ran.err
    made = [run for run in runs_in(tmp_path) if run.info.run_id not in before]
    trials = [run for run in made if "sweep.trial" in run.data.tags]
    assert len(trials) == 15
    assert not any(name.startswith("test/") for run in trials for name in run.data.metrics)
    (comparison,) = [
        words for words in found if words[0] == "compare.py" and "finalist" in words[1]
    ]
    compared = run_process(*comparison)
    assert compared.code == 0, compared.err
    assert re.search(r"^ *1 +5 ", compared.out, re.M)
    assert "val/acc" in compared.out.splitlines()[0]
    (winner,) = [words for words in commands_of(compared.out) if "winner" in words[-1]]
    ran = run_process(*winner)
    assert ran.code == 0, ran.err
    tested = [run for run in runs_in(tmp_path) if "test/acc" in run.data.metrics]
    assert len(tested) == 5
    assert len({run.data.params["optimizer.lr"] for run in tested}) == 1


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12))
def test_a_texts_word_is_read_back_as_it_was(text: str) -> None:
    """A text that is written as an override is parsed as the same text.

    Excepted are lists and dictionaries, and what Hydra takes to be of another type.
    """
    assume(not text.startswith(("[", "{")) and "${" not in text)
    assume(re.fullmatch(r"[A-Za-z_]\w*", text) is None)
    parsed = OverridesParser.create().parse_override(f"key={exact_text(text)}").value()
    assert str(parsed) == text or PLAIN.fullmatch(text)
