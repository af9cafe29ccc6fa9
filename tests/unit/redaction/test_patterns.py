"""Unknown secrets are hidden by their name or form, and texts without any stay unchanged."""

import base64
import gc
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.secret_forms import NASTY_ONE, PASSWORD
from tunebook.redaction import HIDDEN, is_secret, redact, redacted
from tunebook.redaction.names import ENDINGS, LAST, PAIRS

SECRETS_NAMES = [
    "password", "passwd", "pwd", "pass", "passphrase", "secret", "token", "api_key", "apikey",
    "access_key", "private_key", "credential", "credentials", "auth", "authorization", "bearer",
    "pat", "dsn", "connection_string", "DB_PASS", "GH_PAT", "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "HF_TOKEN", "SENTRY_DSN", "GCP_CREDENTIALS",
    "MYSQL_PWD", "dbPassword", "clientSecret", "x.apiKey",
]  # fmt: skip
OTHER_NAMES = [
    "COMPASS", "PATH", "BYPASS", "author", "tokenizer", "passes", "patience", "pattern",
    "SSH_AUTH_SOCK", "PWD", "OLDPWD", "XAUTHORITY", "TOKENIZERS_PARALLELISM", "tunebook.key",
    "pass_rate", "token_count", "PASSWORD_FILE", "keys", "max_tokens", "trainer.max_epochs",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS_NAMES)
def test_a_value_named_like_a_secret_is_hidden(name: str) -> None:
    assert is_secret(name)
    assert NASTY_ONE not in redact(f"so {NASTY_ONE} was it", {name: NASTY_ONE})
    for short in ("ab", "a b", "a,b'c", 4711):
        assert redacted({"model": {name: short, "filters": 3}}) == {
            "model": {name: HIDDEN, "filters": 3}
        }
    assert redacted({name: {"inner": ["ab", None, True, "${oc.env:X}"]}}) == {
        name: {"inner": [HIDDEN, None, True, "${oc.env:X}"]}
    }
    assert "hunter" not in redact(f"{name}=hunter", {})


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_value_named_otherwise_stays(name: str) -> None:
    assert not is_secret(name)
    assert (
        redact(f"{name}=0.25 and swordfish-7", {name: "swordfish-7"})
        == f"{name}=0.25 and swordfish-7"
    )
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


PEM = "-----BEGIN {0}PRIVATE KEY-----\n{1}\n-----END {0}PRIVATE KEY-----\n"
# Texts with an unknown secret at [0]: code, YAML, command lines, XML and PEM.
UNKNOWN = [
    "password := [0]", "password => '[0]'", ':password => "[0]"', "api_key ?= [0]",
    "$secret == '[0]'", "token ||= '[0]'",
    "passwords: ['[0]', '[0] [0]']", "secret=[a]b[0]",
    "passwords:\n  - [0]\n  - [0]\nuser: me", "token:\n- [0]\nuser: me", "TOKEN += [0]",
    "pwd<-'[0]'",
    "client_secret ::= [0]", "cookie: [0]", "db.pw=[0]", "`password` = `[0]`",
    "password: !!str [0]", "token: &anchor [0]",
    "password: |\n  [0]\nuser: me",
    "a:\n  - token: >-\n      [0]\n      [0]\n\n      [0]\n    user: me",
    "secret: |2+ # why\n\n   [0]",
    "x: 1\r\npassphrase: !vault |\r\n\t[0]\r\nuser: me", "password: |-\n  - [0]\n  - a: [0]",
    "curl -u me:[0] http://host", "curl -sSLu me:[0] http://host", "curl -ume:[0]",
    "CURL -u D/me:[0]", "curl -u me:'[0] [0]'", "curl -u $'me:[0]'",
    "curl http://host --user 'me:[0] [0]' -v",
    'curl \\\n  -H "a: b" \\\n  --user "me:[0]"', "wget --user=me:[0]", "--proxy-user :[0]",
    "['curl', '-u', 'me:[0]', 'http://host']",
    "run --password '[0] [0]'", "['run', '--api-key', '[0]']",
    "<password>[0]</password>", "<db:password a='b' c=\"d\">\n  [0]\n</db:password>",
    "<ApiKey><![CDATA[[0]]]></ApiKey>",
    "<password value='[0]'/>", "<tr><td>password</td><td>[0]</td></tr>",
    "<token><value>[0]</value></token>",
    '<add key="ApiKey" value="[0]"/>', "<property name='db.password'>[0]</property>",
    "<key>secret</key>\n<string>[0]</string>", '<input type="password" value="[0]">',
    '<user password="[0]" name="me"/>',
    PEM.format("", "[0]"), PEM.format("RSA ", "Proc-Type: 4,ENCRYPTED\n\n[0]\n[0]"),
    PEM.format("OPENSSH ", "[0]").replace("\n", " "),
    PEM.format("EC ", "[0]").replace("\n", "\n    "), PEM.format("", "[0]" + "x" * 16)[:60],
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n[0]\n-----END PGP",
]  # fmt: skip
AROUND: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "html": html.escape,
    "html twice": lambda text: html.escape(html.escape(text)),
    "json": lambda text: json.dumps({"said": text}),
    "json twice": lambda text: json.dumps([json.dumps({"said": text})]),
    "json for html": lambda text: (
        json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003E").replace("&", "\\u0026")
    ),
    "html in json": lambda text: json.dumps(html.escape(text)),
    "repr": lambda text: repr([text]),
    "address": lambda text: f"http://host/?said={quote(text, safe='')}",
    "decimal": lambda text: "".join(f"&#{ord(c)};" if not c.isalnum() else c for c in text),
}
WORD = st.text("abcdefghijkXYZ0189_", min_size=1, max_size=20).map(lambda text: f"hunter2{text}")


@settings(max_examples=500, deadline=None)
@given(WORD, st.sampled_from(UNKNOWN), st.sampled_from(sorted(AROUND)))
def test_a_secret_that_nobody_told_is_hidden(word: str, form: str, around: str) -> None:
    text = AROUND[around](form.replace("[0]", word))
    hidden = redact(text, {})
    assert HIDDEN in hidden
    assert "hunter2" not in hidden
    assert redact(hidden, {}) == hidden


@pytest.mark.parametrize("form", UNKNOWN)
def test_what_stands_beside_a_secret_stays(form: str) -> None:
    """Nothing but the secret is hidden, so that the next setting can be read."""
    for beside in ("user: me", "http://host", "name=", "a='b'", "'curl'", "-----END"):
        if beside in form:
            assert beside in redact(form.replace("[0]", "hunter2"), {})


@pytest.mark.parametrize(
    "name", [*ENDINGS, *sorted(LAST), *("_".join(pair) for pair in sorted(PAIRS))]
)
def test_every_name_of_a_secret_is_looked_for(name: str) -> None:
    assert redact(f"{name}=hunter2", {}) == f"{name}=***"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@db/study", "http://localhost:5000/#/experiments/1?search=a@b.org",
        "sqlite:////a/b@c.db",
        "ssh://git@github.com/x/y",
        "forward pass: 0.3 s, pat: 2, auth: failed", "val/acc=0.9953 train/loss 1e-05",
        "file:///home/me@work/x", "s3://bucket/a@b",
        "https://github.com/@scope/name", "basic training bearer of news",
        "tokens: 12, max_tokens=100", "password: null",
        "mail me@example.org", "tokens=5", "model.pass_through=True", "bypass: 3",
        "epoch 3: val/acc 0.99", "cat: /etc/passwd: no such file", "x: |\n  text\ny: 1",
        "docker run --user 1000:1000 -u 0:0 --user node:node image",
        "python -u train.py tracking.uri=http://host:5000", "log-u 1:2",
        "rsync -u here there:folder", "usage: login <user> <password> [x]",
        "<keys>a</keys> <token/> <b>password</b>",
        "&lt;b&gt;token&lt;/b&gt;",
        "-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
        "C:\\new\\x41\\token", "\\bpass\\b", "50%41 of it",
        "passes := 3, author => me, tokenizer -> x", "forward pass -> 0.3 s",
        "0123456789abcdef0123456789abcdef", "12:34:56:78:9a:bc", "the password is: ***",
        "model.patience=3,5", "curl -o a:b http://host",
        "password: []",
    ],
)  # fmt: skip
def test_what_is_none_stays(text: str) -> None:
    assert redact(text, {"DB_PASSWORD": "hunter2-hunter2"}) == text


WORDS = st.sampled_from(
    ["optimizer=adam", "model.filters=16,32", "val/acc 0.9953", "lr: 0.001", "outputs=/tmp/a b/ünï",
     "sqlite:////tmp/x.db", "seed=range(3)", "http://127.0.0.1:5000/#/experiments/1", "3.1 s",
     "'quoted'", '{"a": [1, 2e-05]}', "50%", "a@b.org", "\\", "\n", "100 tokens", "passes 3 of 4"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(WORDS, max_size=12),
    st.dictionaries(
        st.sampled_from(SECRETS_NAMES), PASSWORD | st.text("ab1", max_size=5), max_size=3
    ),
)
def test_texts_without_secrets_stay_the_same(words: list[str], environment: dict[str, str]) -> None:
    text = " ".join(words)
    if not any(value.strip() in text for value in environment.values() if len(value) > 5):
        assert redact(text, environment) == text


@settings(max_examples=300, deadline=None)
@given(st.text("ab=:@/?&'\"\\ *{}$password\n", max_size=60))
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redact(text, {"X_TOKEN": "password/ab"})
    assert redact(once, {"X_TOKEN": "password/ab"}) == once


HOSTILE = [
    "a" * 100_000, "://" * 30_000, "://a:@" * 20_000, "password=" * 10_000, "\\" * 100_000,
    '"\\"' * 30_000, "a=" * 50_000, "password:" + " " * 100_000, "%25" * 30_000,
    "authorization: " * 7_000, "bearer " * 15_000, "eyJ" * 30_000, "?&sig=" * 15_000,
    "<password>" * 10_000, "-----BEGIN PRIVATE KEY-----" * 4_000, "curl -u a:" * 10_000,
    "password: |\n  " * 7_000, "0x68, " * 17_000, "\\u0068" * 17_000, "&amp;" * 20_000,
    " \\\n" * 30_000, "password: !a " * 8_000, "token: '" * 10_000,
    "http://h/?" + "&a" * 30_000 + "@", "x" * 50_000 + "\\'\"" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_takes_time_in_proportion_to_its_length(text: str) -> None:
    environment = {f"A{i}_TOKEN": f"{i}\\\\'/ {i}@\\x{i}" for i in range(10)}

    def seconds(length: int) -> float:
        gc.disable()  # a collection takes a second where many tests have left objects
        begun = time.thread_time()
        redact(text[:length], environment)
        gc.enable()
        return time.thread_time() - begun

    # With quadratic time, it would be 16 times.
    assert seconds(len(text)) < 12 * seconds(len(text) // 4) + 0.2


def test_lines_are_redacted_by_the_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(300):
        monkeypatch.setenv(f"SOME_{i}", f"value {i}")
    for i in range(20):
        monkeypatch.setenv(f"SERVICE_{i}_TOKEN", base64.b64encode(str(i).encode() * 9).decode())
    redact("")
    begun = time.process_time()
    for number in range(1000):
        redact(
            f"epoch {number}/1000  train/loss 0.3434  val/acc 0.9923  3.3 s  uri=http://host:5000"
        )
    assert time.process_time() - begun < 1
