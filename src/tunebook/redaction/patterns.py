"""Find what looks like a secret that this process does not know.

It may be in an error of a library, or in a file that another program has written. Every repetition
is bounded, so that the time for a hostile text is proportional to its length.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from tunebook.redaction.addresses import secrets_in
from tunebook.redaction.markup import in_keys, in_markup
from tunebook.redaction.pairs import QUOTE, SIGN, in_logins, in_settings
from tunebook.redaction.values import HIDDEN
from tunebook.redaction.views import readings

LONGEST = 512  # characters of an address in a text
ADDRESS_ENDS = re.compile(r"[\s\"'<>`]")
SPACES = r"(?:\s|%20|\+){1,8}"
HEADER = re.compile(
    rf"(?i)\bauthorization(?:{QUOTE})?{SIGN}(?:{QUOTE})?(?!\$\{{)([^\"'\\\r\n]{{1,4000}})"
)
BEARER = re.compile(
    rf"(?i)\bbearer{SPACES}(?=[^\s\"']{{0,200}}\d|[^\s\"']{{20}})([\w.~+/=%-]{{6,4000}})"
)
BASIC = re.compile(rf"\b[Bb]asic{SPACES}([A-Za-z0-9+/_=-]{{8,4000}})")
PARAMETER = re.compile(r"(?i)[?&;](?:amp;)?(?:sig|signature|awsaccesskeyid)=([^&\s\"'#]{1,4000})")
TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}"
    r"|glpat-[\w-]{16,255}|hf_[A-Za-z0-9]{20,255}"
    r"|xox[abprs]-[\w-]{10,255}|AKIA[0-9A-Z]{16}|eyJ[\w-]{10,2000}\.[\w-]{10,4000}\.[\w-]{10,2000})"
)


def hide(text: str) -> str:
    """Return `text` with *** in place of everything that looks like a secret."""
    return without(text, list(_spans(text)))


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return `text` with *** in place of each span; spans that overlap become one."""
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
    for view in readings(text):
        yield from map(view.origin, _in_reading(view.text))


def _in_reading(text: str) -> Iterator[tuple[int, int]]:
    yield from _in_addresses(text)
    for pattern in (HEADER, BEARER, PARAMETER, TOKEN):
        for match in pattern.finditer(text):
            if match[1] != HIDDEN:
                yield match.span(1)
    yield from (match.span(1) for match in BASIC.finditer(text) if _is_basic(match[1]))
    for find in (in_settings, in_logins, in_markup, in_keys):
        yield from find(text)


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


def _is_basic(word: str) -> bool:
    """Return whether a word is user:password in base64, as HTTP basic authentication sends it."""
    try:
        return b":" in base64.b64decode(
            word + "=" * (-len(word) % 4), altchars=b"-_" if "-" in word or "_" in word else None
        )
    except (binascii.Error, ValueError):
        return False
