"""Find secrets in hexadecimal, base64 and base32.

The first and last characters of a secret in base64 depend on the text around it, so only the
characters between them are searched for. Line breaks may occur anywhere in such text.
"""

import base64
import re
from collections.abc import Iterable, Iterator

from tunebook.redaction.views import View

SHORTEST_CORE = 6  # characters of base64
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-"
REST_OF_RUN = re.compile(r"[A-Za-z0-9+/_=-]*")
# The end of a line and the start of the next, which may be in quotes, in a comment or in a reply.
# A plus sign joins two quoted parts only after a quote; elsewhere it is a character of base64.
BREAK = re.compile(
    r"(?:[\"'][ \t]{0,16}\+|[\"'\\]{0,3})[ \t]{0,16}[\r\n]\s{0,64}(?:[>#*|/]{1,3}[ \t]{1,8})?[\"']?"
)
PAIR = r"[0-9A-Fa-f]{2}"
# Between two bytes: 68:75, 68 75, 0x68, 0x75.
GAP = r"(?:[\s:;,.|_/\\\"'-]{0,4}(?:0[xX]|\\{0,8}[xX]|[%=$])?)"
DIGITS = re.compile(rf"(?:{PAIR}{GAP}){{6,}}+[0-9A-Fa-f]?")
DIGIT_PAIR = re.compile(rf"({PAIR}){GAP}")


def hex_of(text: str) -> str:
    """Return the bytes of a text in hexadecimal."""
    return text.encode(errors="surrogatepass").hex()


def in_hex(text: str, wanted: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans in which a text contains one of the wanted codes in hexadecimal.

    The digits may have either case, with or without separators between the bytes.
    """
    for run in DIGITS.finditer(text):
        digits, begins = run[0].lower(), None
        if not digits.isalnum() or "x" in digits:
            pairs = list(DIGIT_PAIR.finditer(text, *run.span()))
            begins = [pair.start() for pair in pairs]
            digits = "".join(pair[1] for pair in pairs).lower()
        for code in wanted:
            at = digits.find(code)
            while at >= 0:
                last = at + len(code) - 1
                if begins is None:
                    yield run.start() + at, run.start() + last + 1
                else:
                    yield begins[at // 2] + at % 2, begins[last // 2] + last % 2 + 1
                at = digits.find(code, last + 1)


def in_base64(view: View, cores: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the base64 sequences that contain one of the cores."""
    text = view.text
    joined = view.replaced(BREAK, lambda found: "") if "\n" in text or "\r" in text else None
    searched = text if joined is None else joined.text
    for core in cores:
        at = searched.find(core)
        while at >= 0:
            start, end = at, at + len(core)
            at = searched.find(core, end)
            if joined is not None:
                start, end = joined.inside(start, end)
            rest = REST_OF_RUN.match(text, end)
            assert rest is not None
            before = text[max(0, start - 4096) : start]
            yield start - len(before) + len(before.rstrip(ALPHABET)), rest.end()


def cores(text: str) -> tuple[str, ...]:
    """Return the characters that the base64 and base32 forms of every text with `text` in it share.

    There is one core for each position that the first byte may have in a group.
    """
    data = text.encode(errors="surrogatepass")
    found: dict[str, None] = {}
    for shift in range(3):
        core = _core(base64.b64encode(bytes(shift) + data).decode(), shift, len(data), 6)
        if len(core) >= SHORTEST_CORE:
            found |= {core: None, core.replace("+", "-").replace("/", "_"): None}
    for shift in range(5):
        core = _core(base64.b32encode(bytes(shift) + data).decode(), shift, len(data), 5)
        found |= {core: None, core.lower(): None}
    return tuple(core for core in found if len(core) >= SHORTEST_CORE)


def _core(whole: str, shift: int, length: int, bits: int) -> str:
    """Return the characters that do not depend on the bytes before or after the text.

    bits: the number of bits that each character encodes.
    """
    return whole[-(-shift * 8 // bits) : (shift + length) * 8 // bits]
