"""Find secrets in XML, and private keys in PEM."""

import re
from collections.abc import Iterator

from tunebook.redaction.names import is_secret
from tunebook.redaction.values import reveals_secret

LONGEST = 20_000  # characters of a value or of a key
TAG = re.compile(r"<(?P<tag>[A-Za-z_][\w.:-]{0,100})(?P<more>\s[^<>]{0,1000})?(?<!/)>")
TAG_WITH_VALUE = re.compile(r"<(?P<tag>[A-Za-z_][\w.:-]{0,100})(?P<more>\s[^<>]{0,1000})/?>")
ATTRIBUTE = re.compile(r"([\w.:-]{1,100})\s{0,8}=\s{0,8}(?:\"([^\"]{0,4000})\"|'([^']{0,4000})')")
# Attributes and elements that name the value next to them.
NAMING = {"name", "key", "id", "type", "property", "td", "th", "dt", "label"}
VALUE_OF = {"value", "default"}
# <key>password</key><string>...</string>
NAMED = re.compile(
    r"<(?P<key>[\w.:-]{1,100})>\s{0,8}(?P<name>[\w.-]{1,100})\s{0,8}</(?P=key)>\s{0,80}"
    r"(?=<(?P<next>[\w.:-]{1,100})[\s>])"
)
CDATA = "<![CDATA["
DASHES = r"-{4,5}"
KEY_BEGINS = re.compile(
    rf"{DASHES}[ +]?BEGIN[ +](?:[A-Z0-9]{{1,12}}[ +]){{0,4}}"
    rf"PRIVATE[ +]KEY(?:[ +]BLOCK)?[ +]?{DASHES}"
)
KEY_ENDS = re.compile(rf"{DASHES}[ +]?(?:(END)|BEGIN)[ +]")
# The remaining lines of a key whose end was cut off.
LINES_OF_KEY = re.compile(
    r"(?:[\s\"',+>|]{0,40}[A-Za-z0-9+/=]{16,2000})+(?:\s{1,40}[A-Za-z0-9+/=]{1,76}(?!\S))?"
)


def in_markup(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the contents and values of elements that are named like secrets."""
    if "<" not in text:
        return
    for found in TAG.finditer(text):
        if any(map(is_secret, _names(found["tag"], found["more"] or ""))):
            yield from _content(text, found["tag"], found.end())
    for found in TAG_WITH_VALUE.finditer(text):
        if any(map(is_secret, _names(found["tag"], found["more"]))):
            yield from _values(text, *found.span("more"))
    for found in NAMED.finditer(text):
        if _last(found["key"]) in NAMING and is_secret(found["name"]):
            end = text.find(">", found.end(), found.end() + 200)
            if end >= 0:
                yield from _content(text, found["next"], end + 1)


def in_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield the span of each private key's body.

    If the end of a key was cut off, the remaining lines are used.
    """
    for found in KEY_BEGINS.finditer(text):
        ends = KEY_ENDS.search(text, found.end(), found.end() + LONGEST)
        if ends is not None and ends[1]:
            body = text[found.end() : ends.start()]
        else:
            lines = LINES_OF_KEY.match(text, found.end())
            body = lines[0] if lines else ""
        if reveals_secret(body):
            start = found.end() + len(body) - len(body.lstrip())
            yield start, start + len(body.strip())


def _last(name: str) -> str:
    """Return a name in lower case, without its namespace."""
    return name.rpartition(":")[2].lower()


def _names(tag: str, more: str) -> Iterator[str]:
    """Yield the names that an element has: its tag, and the values of naming attributes."""
    yield tag
    yield from (
        found[2] or found[3] or ""
        for found in ATTRIBUTE.finditer(more)
        if _last(found[1]) in NAMING
    )


def _values(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for found in ATTRIBUTE.finditer(text, start, end):
        span = found.span(2 if found[2] is not None else 3)
        if _last(found[1]) in VALUE_OF and reveals_secret(text[slice(*span)]):
            yield span


def _content(text: str, tag: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield the span between an element's tags.

    Nothing is yielded if the element is not closed, as in `login <password>`.
    """
    end = text.find(f"</{tag}", start, start + LONGEST)
    content = text[start : max(start, end)]
    inner = content.strip()
    begin = start + content.find(inner)
    if inner.startswith(CDATA):
        inner, begin = inner.removeprefix(CDATA).removesuffix("]]>"), begin + len(CDATA)
    if reveals_secret(inner):
        yield begin, begin + len(inner)
