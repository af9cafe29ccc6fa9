"""What looks like a secret that this process does not know: in an error of a library, in a file that another program wrote.

Every repetition is bounded: a hostile text takes time in proportion to its length.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from tunebook.secrets.addresses import secrets_in
from tunebook.secrets.names import is_secret
from tunebook.secrets.values import HIDDEN, is_told

LONGEST = 512  # characters of an address in a text
ADDRESS_ENDS = re.compile(r"[\s\"'<>`]")
MAY_HOLD_A_SETTING = re.compile(r"(?i)pass|pwd|secret|token|key|cred|auth|bearer|pat|dsn|string|conn|signature")
NAME = re.compile(r"(?<![\w.-])(?<!//)(?P<name>[\w.-]{1,100})(?P<quote>\\{0,8}[\"']?)\]?(?P<sep>\s{0,8}(?:=>|=|:|%3[dD])\s{0,8})")
VALUE = re.compile(
    r"(?P<open>(?P<escaped>\\{1,8})?[\"'])"
    r"(?P<quoted>(?:(?P=open){2}|(?(escaped)\\\\(?P=open)|(?!))|(?!(?P=open))(?:\\[^\r\n]|[^\r\n\\])){0,4000})"
    r"|(?P<plain>(?:\$\{[^{}\s]{1,200}\}|(?!\\{1,8}[\"'])[^\s,'\"&}]){1,4000})"
)
FLAG = re.compile(r"(?<!\S)--(?P<name>[\w-]{1,60})\s{1,8}([^\s-][^\s]{0,4000})")
IN_PROSE = {"pass", "pat", "auth"}  # words that a colon follows in plain English too
HEADER = re.compile(r"(?i)\bauthorization\\{0,8}[\"']?\s{0,8}[:=]\s{0,8}\\{0,8}[\"']?(?!\$\{)([^\"'\\\r\n]{1,4000})")
BEARER = re.compile(r"(?i)\bbearer(?:\s|%20|\+){1,8}(?=[^\s\"']{0,200}\d|[^\s\"']{20})([\w.~+/=%-]{6,4000})")
BASIC = re.compile(r"\b[Bb]asic(?:\s|%20|\+){1,8}([A-Za-z0-9+/_=-]{8,4000})")
PARAMETER = re.compile(r"(?i)[?&;](?:amp;)?(?:sig|signature|awsaccesskeyid)=([^&\s\"'#]{1,4000})")
TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|glpat-[\w-]{16,255}|hf_[A-Za-z0-9]{20,255}"
    r"|xox[abprs]-[\w-]{10,255}|AKIA[0-9A-Z]{16}|eyJ[\w-]{10,2000}\.[\w-]{10,4000}\.[\w-]{10,2000})"
)


def hide(text: str) -> str:
    """Return `text` without what looks like a secret."""
    return without(text, list(_spans(text)))


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return `text` with *** in place of each span; overlapping ones are one."""
    pieces: list[str] = []
    at = 0
    for start, end in sorted(spans):
        if start < at:
            at = max(at, end)
            continue
        pieces += [text[at:start], HIDDEN]
        at = end
    return "".join([*pieces, text[at:]]) if pieces else text


def _spans(text: str) -> Iterator[tuple[int, int]]:
    yield from _in_addresses(text)
    for pattern in (HEADER, BEARER, PARAMETER, TOKEN):
        for match in pattern.finditer(text):
            if match[1] != HIDDEN:
                yield match.span(1)
    yield from (match.span(1) for match in BASIC.finditer(text) if _is_basic(match[1]))
    yield from _in_settings(text)


def _in_addresses(text: str) -> Iterator[tuple[int, int]]:
    if "@" not in text and "?" not in text:
        return
    at = text.find("://")
    while at >= 0:
        found = ADDRESS_ENDS.search(text, at, at + LONGEST)
        until = found.start() if found else at + LONGEST
        begin, at = max(0, at - 40), at + 3
        for secret in secrets_in(text[begin:until], at - 3 - begin, is_setting=False):
            if text[begin + secret.start : begin + secret.end] != HIDDEN:
                yield begin + secret.start, begin + secret.end
            at = max(at, begin + secret.end)
        at = text.find("://", at)


def _in_settings(text: str) -> Iterator[tuple[int, int]]:
    if MAY_HOLD_A_SETTING.search(text) is None:
        return
    until = 0
    for match in NAME.finditer(text):
        if match.start() < until or not is_secret(match["name"]):
            continue
        is_prose = ":" in match["sep"] and not match["quote"] and match["name"].lower() in IN_PROSE
        found = VALUE.match(text, match.end())
        if found is None or is_prose:
            continue
        span = found.span("quoted" if found["plain"] is None else "plain")
        if is_told(text[slice(*span)]):
            yield span
            until = span[1]
    for match in FLAG.finditer(text):
        if is_secret(match["name"]) and is_told(match[2]):
            yield match.span(2)


def values_in(text: str) -> Iterator[str]:
    """Yield the secrets that a text's own settings hold, such as a connection string's `password=...`."""
    for start, end in _in_settings(text):
        yield text[start:end]


def _is_basic(word: str) -> bool:
    """Return whether a word is what HTTP's basic authentication sends: user:password in base64."""
    try:
        return b":" in base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_" if "-" in word or "_" in word else None)
    except (binascii.Error, ValueError):
        return False
