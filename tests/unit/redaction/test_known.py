"""Known secrets are found wherever they are written, in whatever form."""

import json
import re
import shlex
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.secret_forms import (
    ENCODINGS,
    NASTY,
    NASTY_ONE,
    PACKINGS,
    PASSWORD,
    SPELLINGS,
    forms_of,
    is_password,
    known,
)
from tunebook.redaction import HIDDEN, fits, redact
from tunebook.redaction.known import KnownSecrets
from tunebook.redaction.packed import cores
from tunebook.text_output import quoted


@settings(max_examples=400, deadline=None)
@given(PASSWORD, st.sampled_from(sorted(ENCODINGS)))
@example(NASTY_ONE, "json twice")
@example("aaaa aaaa\\\\\\bbbb", "json thrice")
def test_a_known_secret_is_found_in_every_form(secret: str, encoding: str) -> None:
    if encoding == "inside base64":
        # JSON would escape these characters.
        secret = secret.replace('"', "q").replace("\\", "b").replace("\t", "t")
    text = f"it came to <{ENCODINGS[encoding](secret)}> at last"
    hidden = known(DB_PASS=secret)(text)
    assert HIDDEN in hidden
    assert hidden.startswith("it came to <")
    assert hidden.endswith("> at last")
    assert [form for form in forms_of(secret) if form in hidden] == []
    # What an encoding writes around the secret may stay.
    assert len(hidden) <= len("it came to <***> at last") + 40
    assert known(DB_PASS=secret)(hidden) == hidden


# Printable characters of any script, with enough letters to write as escapes.
PRINTED = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"])
    | st.sampled_from("abcXYZ0189" + NASTY),
    min_size=8,
    max_size=24,
).filter(is_password)
# Contexts in which a program may write what it was given.
PLACES = [
    "{}",
    "x={}",
    '"{}"',
    "<{}>",
    "['{}', 1]",
    "http://h.org/?q={}&x=1",
    "no connection: {}",
    "a\n{}\nb",
    "{{'x': '{}'}}",
]


@settings(max_examples=250, deadline=None)
@given(PRINTED, st.sampled_from(sorted(SPELLINGS)), st.sampled_from(PLACES))
@example("5%41/abcd", "percent", "{}")
@example("a&lt;b;cd", "html", "x={}")
def test_a_known_secret_is_found_with_every_letter_escaped(
    secret: str, spelling: str, place: str
) -> None:
    secrets = KnownSecrets()
    secrets.add(secret)
    spell = SPELLINGS[spelling]
    hidden = secrets.hide(place.format("".join(map(spell, secret))))
    assert HIDDEN in hidden
    letters = "".join(map(spell, "".join(filter(str.isalnum, secret))))
    assert len(hidden) < len(place) + len(HIDDEN) + len(spell("'")) * 4
    assert letters not in hidden
    assert secrets.hide(hidden) == hidden


@settings(max_examples=250, deadline=None)
@given(PRINTED, st.data())
def test_a_known_secret_is_found_with_each_letter_in_a_form_of_its_own(
    secret: str, data: st.DataObject
) -> None:
    secrets = KnownSecrets()
    secrets.add(secret)
    alike = [
        SPELLINGS[name]
        for name in ("unicode", "unicode, upper", "bytes", "percent", "html", "html, hexadecimal")
    ]
    spells = data.draw(st.lists(st.sampled_from(alike), min_size=len(secret), max_size=len(secret)))
    written = "".join(spell(character) for spell, character in zip(spells, secret, strict=True))
    assert len(secrets.hide(f"it is {written}.")) <= len("it is ***.") + 40


@settings(max_examples=400, deadline=None)
@given(
    PRINTED,
    st.sampled_from(sorted(PACKINGS)),
    st.binary(max_size=70),
    st.binary(max_size=70),
    st.sampled_from(PLACES),
)
@example("¡ࠀ𐀀𐀀~000", "base64 in YAML", b"\0", b"", "{}")  # a line that ends in +
def test_a_known_secret_is_found_in_digits_and_base64(
    secret: str, packing: str, before: bytes, after: bytes, place: str
) -> None:
    """A known secret is found in hexadecimal digits and base64, alone or in a longer text.

    It begins at any place in a group of bytes and continues over the ends of lines.
    """
    secrets = KnownSecrets()
    secrets.add(secret)
    hidden = secrets.hide(place.format(PACKINGS[packing](before + secret.encode() + after)))
    assert HIDDEN in hidden
    left = re.sub(r"0x|\\+[xrn]|[^\w+/=-]|[:,]|(?<=\d)-", "", hidden)
    assert secret.encode().hex() not in left.lower()
    assert not any(core in left for core in cores(secret))
    assert secrets.hide(hidden) == hidden


FIGURES = "0123456789abcdef"


@settings(max_examples=200, deadline=None)
@given(
    PASSWORD,
    st.lists(
        st.text(FIGURES, min_size=32, max_size=64) | st.floats().map(repr) | st.integers().map(str),
        max_size=8,
    ),
)
def test_digits_that_are_no_secret_stay(secret: str, words: list[str]) -> None:
    """A run's id, a checksum and figures stay, whatever is secret."""
    secrets = KnownSecrets()
    secrets.add(secret)
    text = " ".join(words)
    assert secrets.hide(text) == text


@settings(max_examples=300, deadline=None)
@given(
    PASSWORD,
    st.sampled_from(["postgresql", "mysql+pymysql", "http", "https", "redis", "mssql+pyodbc"]),
    st.booleans(),
    st.booleans(),
)
@example("5/abcdefgh", "http", False, True)
@example("a@b.c/d?e#fgh", "https", False, True)
def test_a_password_in_an_address_is_found(
    password: str, scheme: str, encoded: bool, as_word: bool
) -> None:
    """A password in an address is found there and wherever else it is written.

    The address comes from a setting or from an override.
    """
    written = quote(password, safe="") if encoded else password
    address = f"{scheme}://somebody:{written}@db.example.org:5432/x?timeout=3"
    secrets = KnownSecrets()
    if as_word:
        secrets.learn_words([f"tracking.uri={quoted(address)}"])
    else:
        secrets.learn({"tracking": {"uri": address}})
    for text in (
        address,
        f"tracking.uri={address}",
        shlex.quote(f"tracking.uri={quoted(address)}"),
        quote(address),
        json.dumps([address]),
    ):
        hidden = secrets.hide(text)
        assert [form for form in forms_of(password) if form in hidden] == []
        assert "db.example.org" in hidden
        assert secrets.hide(hidden) == hidden
    for encode in ENCODINGS.values():
        if encode is not ENCODINGS["inside base64"]:
            hidden = secrets.hide(f"no connection ({encode(password)})")
            assert [form for form in forms_of(password) if form in hidden] == []


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "sslpassword",
        "token",
        "X-Amz-Signature",
        "X-Amz-Credential",
        "sig",
        "AccessKeyId",
        "api_key",
    ],
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


@pytest.mark.parametrize("value", ["lr", "adam", "0.1", "16", "x"])
def test_a_short_secret_is_hidden_in_its_place_only(value: str) -> None:
    secrets = KnownSecrets()
    secrets.learn_words([f"tracking.uri=http://me:{value}@host", f"x.password={value}"])
    text = f"x.password={value} tracking.uri=http://me:{value}@host optimizer.lr=0.1 adam 16"
    assert (
        secrets.hide(text) == "x.password=*** tracking.uri=http://***@host optimizer.lr=0.1 adam 16"
    )


def test_a_number_as_a_password_leaves_figures_alone() -> None:
    hide = known(DB_PASS="995312")
    assert (
        hide("val/acc 0.995312 at 1995312, 9953127; password was 995312.")
        == "val/acc 0.995312 at 1995312, 9953127; password was ***."
    )


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
