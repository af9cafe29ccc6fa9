"""Arbitrary overrides are accepted or refused in one line with status 2."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import in_folder, run_process
from tunebook.cli import entry
from tunebook.config.compose import default_choices, keys, options, with_choices
from tunebook.config.run_config import RunConfig

KEYS = sorted(
    {
        *keys(with_choices(default_choices())),
        *default_choices(),
        "hydra.run.dir",
        "hydra.verbose",
        "hydra.job.name",
        "resume",
        "hydra",
    }
)
OPTIONS = sorted({option for group in default_choices() for option in options(group)})

# An argument of a process can't contain a NUL.
text = st.text(st.characters(exclude_characters="\0"), max_size=8)
key = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(KEYS).flatmap(
        lambda k: st.sampled_from(
            [k + "s", k[1:], k.upper(), f"{k}.x", f"{k}@hydra", f"{k}/x", f"{k}:", f" {k}"]
        )
    ),
    text,
)
number = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(["1e99", "9" * 4999, "0x1", "1_0", "-0", "1e-400", ".5", "+1", "1e", "--1"]),
)
word = st.one_of(
    number.map(str),
    st.sampled_from(OPTIONS),
    st.sampled_from(
        [
            "null",
            "true",
            "",
            "???",
            "'",
            '"',
            "''",
            "[]",
            "{}",
            "[",
            "{a:1}",
            "{a:{b:[1]}}",
            "../x",
            "/tmp",
            "_common",
            "~",
            "*",
        ]
    ),
    st.sampled_from(
        [
            "${seed}",
            "${x}",
            "${..x}",
            "${oc.env:HOME}",
            "${oc.env:N,1}",
            "${oc.decode:'{a: 1}'}",
            "${",
            "$",
            "$\\{seed\\}",
        ]
    ),
    st.sampled_from(
        [
            "choice(1,2)",
            "range(3)",
            "range(0)",
            "interval(0,1)",
            "glob(*)",
            "int(1)",
            "str(x)",
            "json_str('[')",
            "sort(1,2)",
            "1,2",
        ]
    ),
    text,
    text.map(lambda t: f"'{t}'"),
)
value = st.recursive(
    word,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]"),
        inner.map(lambda v: f"{{a:{v}}}"),
    ),
    max_leaves=4,
)
override = st.one_of(
    st.builds("{}{}={}".format, st.sampled_from(["", "", "", "+", "++", "~"]), key, value),
    st.builds("~{}".format, key),
    st.builds("{}{}={}".format, text, key, value),
    text,
)
words = st.lists(override, min_size=1, max_size=3)


def prepared(arguments: list[str]) -> tuple[int, str, list[str]]:
    """Do all that train.py does before Hydra starts.

    Return the exit status, standard error and the names of what was written.
    """
    before = list(sys.argv)
    said = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        sys.argv = [
            "train.py",
            *in_folder(Path(folder)),
            "data=digits",
            "debug=quick",
            "trainer=cpu",
            *arguments,
        ]
        status = 0
        try:
            parsed = entry._arguments("config")
            entry._prepare(
                parsed,
                "config",
                "",
                RunConfig.of,
                "tunebook.runs.check:check",
                "tunebook.runs.resolve_resume:resolve_resume",
                sweeps=True,
            )
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            sys.argv = before
        return status, said.getvalue(), [path.name for path in Path(folder).iterdir()]


def holds(arguments: list[str]) -> None:
    status, said, made = prepared(arguments)
    assert status in (0, 2), said
    assert not made
    if status == 2:
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert said.rstrip("\n").isprintable()
        assert len(said) < 2000
    else:
        assert said == ""


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(words)
@example(["~trainer.compile"])
@example(["~find"])
@example(["tracking.also=1e99"])
@example(["++tracking.also={a:0}"])
@example(["++tracking.also={a:{_target_:[1]}}"])
def test_any_words(arguments: list[str]) -> None:
    holds(arguments)


@pytest.mark.slow
@settings(max_examples=4000, deadline=None, suppress_health_check=list(HealthCheck))
@given(words)
def test_any_words_thousands(arguments: list[str]) -> None:
    holds(arguments)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(words.filter(lambda found: all(word.isprintable() for word in found)))
def test_any_words_in_a_process(arguments: list[str]) -> None:
    """Arbitrary overrides are shown or refused in one line, and nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        result = run_process(
            "train.py", "--cfg", "job", *in_folder(Path(folder)), "data=digits", *arguments
        )
        assert result.code in (0, 2), result.err
        assert result.err.count("\n") == (1 if result.code else 0)
        assert not list(Path(folder).iterdir())
