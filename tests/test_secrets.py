"""Secrets: found wherever they are written, in whatever form; and texts without any stay as they are."""

import base64
import html
import json
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests import faults
from tests.conftest import run_process
from tests.runs import RUN, with_store
from tunebook.checks import SettingError
from tunebook.experiment.assembly import without_secrets
from tunebook.secrets import HIDDEN, fits, redact, redacted, redaction
from tunebook.secrets.known import KnownSecrets
from tunebook.secrets.names import is_secret
from tunebook.text_output import quoted
from tunebook.tracking.address import what_is_wrong

NASTY = "/@#?'\"` ,&%=+;:!$\\|<>[]{}()*~^-_.éß漢😀\t"
# Long enough to be told from a word wherever it stands.
PASSWORD = st.text("abcXYZ0189" + NASTY, min_size=8, max_size=24).filter(
    lambda text: len(set(text)) > 4 and text == text.strip() and not text.isdigit() and any(c.isalnum() for c in text) and "***" not in text
    and "${" not in text
)  # fmt: skip
NASTY_ONE = "p/a@s#s?w'o\"r d,&%é\\x"


def lower_hex(text: str) -> str:
    """What quote gives, its digits in lower case."""
    return "%".join(part if i == 0 else part[:2].lower() + part[2:] for i, part in enumerate(quote(text, safe="").split("%")))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "sqlalchemy": lambda text: quote(text, safe=" +"),
    "lower hex": lower_hex,
    "quote_plus": quote_plus,
    "quoted twice": lambda text: quote(quote(text, safe=""), safe=""),
    "json": json.dumps,
    "json, unicode": lambda text: json.dumps(text, ensure_ascii=False),
    "json twice": lambda text: json.dumps(json.dumps({"x": text})),
    "json thrice": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "repr": repr,
    "repr of repr": lambda text: repr([repr(text)]),
    "repr of bytes": lambda text: repr(text.encode()),
    "shell": shlex.quote,
    "shell twice": lambda text: shlex.quote(shlex.quote(text)),
    "hydra": quoted,
    "hydra in a shell": lambda text: shlex.quote(f"a.b={quoted(text)}"),
    "yaml": lambda text: yaml.safe_dump({"x": text}),
    "yaml, unicode": lambda text: yaml.safe_dump({"x": text}, allow_unicode=True, width=10_000),
    "html": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(f"somebody:{text}".encode()).decode(),
    "inside base64": lambda text: base64.b64encode(json.dumps({"ab": text}, ensure_ascii=False).encode()).decode(),
    "yaml in json": lambda text: json.dumps(yaml.safe_dump({"x": text})),
    "json in an address": lambda text: quote_plus(json.dumps({"x": text})),
}  # fmt: skip


def forms_of(secret: str) -> list[str]:
    """The texts that must not be found where a secret was hidden."""
    found = {encode(secret).strip("'\"\n") for encode in (str, quote, quote_plus, ENCODINGS["quote all"], lower_hex)}
    inner = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return [*found, *inner, ENCODINGS["base64"](secret).rstrip("="), ENCODINGS["basic"](secret).rstrip("=")]


def known(**environment: str) -> Callable[[str], str]:
    return lambda text: redact(text, environment)


@settings(max_examples=400, deadline=None)
@given(PASSWORD, st.sampled_from(sorted(ENCODINGS)))
@example(NASTY_ONE, "json twice")
@example("aaaa aaaa\\\\\\bbbb", "json thrice")
def test_a_known_secret_is_found_in_every_form(secret: str, encoding: str) -> None:
    if encoding == "inside base64":
        secret = secret.replace('"', "q").replace("\\", "b").replace("\t", "t")  # JSON would write these otherwise
    text = f"it came to <{ENCODINGS[encoding](secret)}> at last"
    hidden = known(DB_PASS=secret)(text)
    assert HIDDEN in hidden
    assert hidden.startswith("it came to <")
    assert hidden.endswith("> at last")
    assert [form for form in forms_of(secret) if form in hidden] == []
    assert len(hidden) <= len("it came to <***> at last") + 40  # what an encoding writes around it may stay
    assert known(DB_PASS=secret)(hidden) == hidden


@settings(max_examples=300, deadline=None)
@given(PASSWORD, st.sampled_from(["postgresql", "mysql+pymysql", "http", "https", "redis", "mssql+pyodbc"]), st.booleans(), st.booleans())
@example("5/abcdefgh", "http", False, True)
@example("a@b.c/d?e#fgh", "https", False, True)
def test_a_password_in_an_address_is_found(password: str, scheme: str, encoded: bool, as_word: bool) -> None:
    """In the address, and wherever else it is told; whether the address came as a setting or as a word."""
    written = quote(password, safe="") if encoded else password
    address = f"{scheme}://somebody:{written}@db.example.org:5432/x?timeout=3"
    secrets = KnownSecrets()
    if as_word:
        secrets.learn_words([f"tracking.uri={quoted(address)}"])
    else:
        secrets.learn({"tracking": {"uri": address}})
    for text in (address, f"tracking.uri={address}", shlex.quote(f"tracking.uri={quoted(address)}"), quote(address), json.dumps([address])):
        hidden = secrets.hide(text)
        assert [form for form in forms_of(password) if form in hidden] == []
        assert "db.example.org" in hidden
        assert secrets.hide(hidden) == hidden
    for encode in ENCODINGS.values():
        if encode is not ENCODINGS["inside base64"]:
            hidden = secrets.hide(f"no connection ({encode(password)})")
            assert [form for form in forms_of(password) if form in hidden] == []


@pytest.mark.parametrize(
    "name", ["password", "sslpassword", "token", "X-Amz-Signature", "X-Amz-Credential", "sig", "AccessKeyId", "api_key"]
)
def test_a_secret_parameter_of_an_address_is_found(name: str) -> None:
    for secret in ("hunter2/hunter2", "a+b%2Fc==", "x&y z'q\"", "short"):
        address = f"https://host.org/a/b.ckpt?x=1&{name}={secret}"
        secrets = KnownSecrets()
        secrets.learn_words([f"resume={address}"])
        hidden = secrets.hide(f"resume={address}: could not be fetched")
        assert hidden == f"resume=https://host.org/a/b.ckpt?x=1&{name}=***: could not be fetched"
        assert "https://host.org/a/b.ckpt?x=1" in redact(f"GET {address}&y=2 failed", {})
    assert "abcdef" not in redact(f"GET https://host.org/a?x=1&{name}=abcdef&y=2 failed", {})


@pytest.mark.parametrize("user", ["{}", "{}:x-oauth-basic", "x-access-token:{}", "{}:"])
def test_a_token_in_the_place_of_a_user_is_found(user: str) -> None:
    token = "glx_0123456789abcdefABCDEF"
    address = f"https://{user.format(token)}@host.org/x"
    secrets = KnownSecrets()
    secrets.learn(address)
    assert secrets.hide(f"at {address}, with {token}") == "at https://***@host.org/x, with ***"
    assert redact(address, {}) == "https://***@host.org/x"


SECRETS_NAMES = [
    "password", "passwd", "pwd", "pass", "passphrase", "secret", "token", "api_key", "apikey", "access_key", "private_key", "credential",
    "credentials", "auth", "authorization", "bearer", "pat", "dsn", "connection_string", "DB_PASS", "GH_PAT", "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "HF_TOKEN", "SENTRY_DSN", "GCP_CREDENTIALS",
    "MYSQL_PWD", "dbPassword", "clientSecret", "x.apiKey",
]  # fmt: skip
OTHER_NAMES = [
    "COMPASS", "PATH", "BYPASS", "author", "tokenizer", "passes", "patience", "pattern", "SSH_AUTH_SOCK", "PWD", "OLDPWD", "XAUTHORITY",
    "TOKENIZERS_PARALLELISM", "tunebook.key", "pass_rate", "token_count", "PASSWORD_FILE", "keys", "max_tokens", "trainer.max_epochs",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS_NAMES)
def test_a_value_named_like_a_secret_is_hidden(name: str) -> None:
    assert is_secret(name)
    assert NASTY_ONE not in redact(f"so {NASTY_ONE} was it", {name: NASTY_ONE})
    for short in ("ab", "a b", "a,b'c", 4711):
        assert redacted({"model": {name: short, "filters": 3}}) == {"model": {name: HIDDEN, "filters": 3}}
    assert redacted({name: {"inner": ["ab", None, True, "${oc.env:X}"]}}) == {name: {"inner": [HIDDEN, None, True, "${oc.env:X}"]}}
    assert "hunter" not in redact(f"{name}=hunter", {})


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_value_named_otherwise_stays(name: str) -> None:
    assert not is_secret(name)
    assert redact(f"{name}=0.25 and swordfish-7", {name: "swordfish-7"}) == f"{name}=0.25 and swordfish-7"
    assert redacted({name: "swordfish-7"}) == {name: "swordfish-7"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:p/w@host:5000/x", "http://***@host:5000/x"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: ***"),
        ('{"authorization": "Bearer abc.def"}', '{"authorization": "***"}'),
        ("sent Bearer abcdef123456 to it", "sent Bearer *** to it"),
        ("passphrase: 'it''s me'", "passphrase: '***'"),
        (r"{\"password\": \"hun\\\"ter\", \"a\": 1}", r"{\"password\": \"***\", \"a\": 1}"),
        ("Server=db;User Id=me;Password=hunter;Encrypt=yes", "Server=db;User Id=me;Password=***"),
        ("run --token abc x", "run --token *** x"),
        ("password=${oc.env:DB_PASSWORD}", "password=${oc.env:DB_PASSWORD}"),
        ("it is ghp_0123456789abcdefghijABCDEFGHIJ", "it is ***"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redact(text, {}) == shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@db/study", "http://localhost:5000/#/experiments/1?search=a@b.org", "sqlite:////a/b@c.db",
        "ssh://git@github.com/x/y",
        "forward pass: 0.3 s, pat: 2, auth: failed", "val/acc=0.9953 train/loss 1e-05", "file:///home/me@work/x", "s3://bucket/a@b",
        "https://github.com/@scope/name", "basic training bearer of news", "tokens: 12, max_tokens=100", "password: null",
        "mail me@example.org",
    ],
)  # fmt: skip
def test_what_is_none_stays(text: str) -> None:
    assert redact(text, {"DB_PASSWORD": "hunter2-hunter2"}) == text


WORDS = st.sampled_from(
    ["optimizer=adam", "model.filters=16,32", "val/acc 0.9953", "lr: 0.001", "outputs=/tmp/a b/ünï", "sqlite:////tmp/x.db", "seed=range(3)",
     "http://127.0.0.1:5000/#/experiments/1", "3.1 s", "'quoted'", '{"a": [1, 2e-05]}', "50%", "a@b.org", "\\", "\n",
     "100 tokens", "passes 3 of 4"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=12), st.dictionaries(st.sampled_from(SECRETS_NAMES), PASSWORD | st.text("ab1", max_size=5), max_size=3))
def test_texts_without_secrets_stay_the_same(words: list[str], environment: dict[str, str]) -> None:
    text = " ".join(words)
    if not any(value.strip() in text for value in environment.values() if len(value) > 5):
        assert redact(text, environment) == text


@settings(max_examples=300, deadline=None)
@given(st.text("ab=:@/?&'\"\\ *{}$password\n", max_size=60))
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redact(text, {"X_TOKEN": "password/ab"})
    assert redact(once, {"X_TOKEN": "password/ab"}) == once


@pytest.mark.parametrize("value", ["lr", "adam", "0.1", "16", "x"])
def test_a_short_secret_is_hidden_in_its_place_only(value: str) -> None:
    secrets = KnownSecrets()
    secrets.learn_words([f"tracking.uri=http://me:{value}@host", f"x.password={value}"])
    text = f"x.password={value} tracking.uri=http://me:{value}@host optimizer.lr=0.1 adam 16"
    assert secrets.hide(text) == "x.password=*** tracking.uri=http://***@host optimizer.lr=0.1 adam 16"


def test_a_number_as_a_password_leaves_figures_alone() -> None:
    hide = known(DB_PASS="995312")
    assert hide("val/acc 0.995312 at 1995312, 9953127; password was 995312.") == "val/acc 0.995312 at 1995312, 9953127; password was ***."


def test_a_config_without_secrets_can_be_read_again() -> None:
    rest = {"b": "${oc.env:HOME}", "c": [1, None]}
    config = OmegaConf.create({"api_key": "hunter2", "a": {"uri": "http://me:pw@host"}, **rest})
    assert OmegaConf.create(without_secrets(config)) == {"api_key": HIDDEN, "a": {"uri": "http://***@host"}, **rest}


def test_a_line_is_cut_after_it_was_redacted() -> None:
    redaction.PROCESS.learn("http://somebody:0123456789-abcdefghij-ABCDEFGHIJ-klmnopqrst@host")
    error = SettingError("experiment_name", "x" * 60 + "0123456789-abcdefghij-ABCDEFGHIJ-klmnopqrst", "is no name")
    assert "0123" not in str(error)


@pytest.mark.parametrize(
    ("kept", "address", "is_it"),
    [
        ("http://***@host/x", "http://me:p/w@host/x", True),
        ("http://***@host/x", "http://me:pw@other/x", False),
        ("postgresql://***@db/x?sslpassword=***", "postgresql://a:b@db/x?sslpassword=c", True),
        ("sqlite:////a.db", "sqlite:////a.db", True),
        ("sqlite:////a.db", "sqlite:////a.db2", False),
    ],
)
def test_an_address_is_known_by_what_was_kept_of_it(kept: str, address: str, is_it: bool) -> None:
    assert fits(kept, address) == is_it


HOSTILE = [
    "a" * 100_000, "://" * 30_000, "://a:@" * 20_000, "password=" * 10_000, "\\" * 100_000, '"\\"' * 30_000, "a=" * 50_000,
    "password:" + " " * 100_000, "%25" * 30_000, "authorization: " * 7_000, "bearer " * 15_000, "eyJ" * 30_000, "?&sig=" * 15_000,
    "token: '" * 10_000, "http://h/?" + "&a" * 30_000 + "@", "x" * 50_000 + "\\'\"" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_takes_time_in_proportion_to_its_length(text: str) -> None:
    environment = {f"A{i}_TOKEN": f"{i}\\\\'/ {i}@\\x{i}" for i in range(10)}

    def seconds(length: int) -> float:
        begun = time.process_time()
        redact(text[:length], environment)
        return time.process_time() - begun

    assert seconds(len(text)) < 12 * seconds(len(text) // 4) + 0.2  # 16 times would be quadratic


def test_lines_are_redacted_by_the_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(300):
        monkeypatch.setenv(f"SOME_{i}", f"value {i}")
    for i in range(20):
        monkeypatch.setenv(f"SERVICE_{i}_TOKEN", base64.b64encode(str(i).encode() * 9).decode())
    redact("")
    begun = time.process_time()
    for number in range(1000):
        redact(f"epoch {number}/1000  train/loss 0.3434  val/acc 0.9923  3.3 s  uri=http://host:5000")
    assert time.process_time() - begun < 1


def files_with(secret: str, folder: Path) -> list[str]:
    """Every file in a folder, links and databases' own files included, that holds a secret in some form."""
    forms = [form.encode() for form in forms_of(secret)]
    return [str(path) for path in files(folder) if any(form in path.read_bytes() for form in forms)]


def files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql", "mysql"])
@pytest.mark.parametrize("password", ["CorrectHorse9/x", "a/b:c@d", "[half", "x#y?z/Battery77", "9999999/Staple55"])
def test_no_part_of_a_password_is_in_the_answer_to_a_bad_address(scheme: str, password: str) -> None:
    """A parser's own words quote what it took for a port or a host."""
    said = what_is_wrong(f"{scheme}://me:{password}@127.0.0.1:9/x")
    assert [part for part in re.findall(r"\w{5,}", password) if part in said] == []


IN_ADDRESS, IN_VARIABLE, IN_QUERY = "p/a@s#s?w'o\"r d,&%é", "va/ri@able'1\" x,y&z%", "s/i g=n&a'tu\"re"


def with_secrets(wraps: str = "") -> None:
    """Let a process have one in a variable, and fail where it is told to with an error that holds another."""
    os.environ |= {"DB_PASS": IN_VARIABLE, "MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    if wraps:
        from tunebook.classifier import Classifier

        faults.at_call(Classifier, "training_step", 5, raise_with_secrets)


def raise_with_secrets() -> None:
    raise RuntimeError(f"no answer from http://me:{quote(IN_ADDRESS, safe='')}@host with {IN_VARIABLE!r} and {json.dumps(IN_ADDRESS)}")


def places(folder: Path) -> tuple[str, ...]:
    address = f"http://me:{quote(IN_ADDRESS, safe='')}@127.0.0.1:9/x?password={quote(IN_QUERY, safe='')}"
    return (f"outputs={folder}/out", f"tracking.uri={quoted(address)}", "tracking.patience_s=0", f"experiment_name={quoted(IN_VARIABLE)}")


def test_a_run_that_fails_tells_no_secret_anywhere(tmp_path: Path) -> None:
    status = faults.run_train((*RUN, *places(tmp_path)), tmp_path / "terminal.txt", with_secrets, "fails")
    said = (tmp_path / "terminal.txt").read_text()
    assert status == 1, said
    assert len(list(files(tmp_path))) > 6
    assert HIDDEN in said
    assert [files_with(secret, tmp_path) for secret in (IN_ADDRESS, IN_VARIABLE, IN_QUERY)] == [[], [], []]


@pytest.mark.slow
def test_a_run_that_is_gone_on_with_and_delivered_tells_no_secret(tmp_path: Path) -> None:
    """A real store behind the address: sqlite, whose path has a parameter; run, refused, gone on with, read again."""
    with_store(tmp_path)
    uri = f"tracking.uri={quoted(f'sqlite:///{tmp_path}/mlflow.db')}"
    words = (*RUN, f"outputs={tmp_path}/out", uri, f"experiment_name={quoted(IN_VARIABLE)}")
    assert faults.run_train(words, tmp_path / "1.txt", with_secrets, "fails") == 1
    again = (f"outputs={tmp_path}/out", uri, "resume=last")
    assert faults.run_train(again, tmp_path / "2.txt", with_secrets) == 2
    assert "is not kept with the run, since it holds a secret: give it again" in (tmp_path / "2.txt").read_text()
    assert faults.run_train((*again, f"experiment_name={quoted(IN_VARIABLE)}"), tmp_path / "3.txt", with_secrets) == 0
    assert len(list(tmp_path.glob("mlruns/**/*.ckpt"))) == 2
    assert files_with(IN_VARIABLE, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("executor", [(), ("sweep.executor=slurm", "sweep.slurm.cluster=local", "sweep.workers=1")], ids=["local", "jobs"])
def test_a_sweep_tells_no_secret_anywhere(tmp_path: Path, executor: tuple[str, ...]) -> None:
    words = ("-m", *RUN, "seed=1,2", "trainer.max_epochs=1", *executor, *places(tmp_path))
    assert faults.run_train(words, tmp_path / "terminal.txt", with_secrets) == 0, (tmp_path / "terminal.txt").read_text()
    assert list(tmp_path.rglob("study.db"))
    assert [files_with(secret, tmp_path) for secret in (IN_ADDRESS, IN_VARIABLE, IN_QUERY)] == [[], [], []]


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
    result = run_process("train.py", *(word.replace("{}", quote(IN_ADDRESS, safe="")) for word in words), DB_PASS=IN_ADDRESS)
    assert result.code == (0 if "--cfg" in words else 2)
    assert [form for form in forms_of(IN_ADDRESS) if form in result.out + result.err] == []
